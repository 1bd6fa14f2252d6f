// Checks whether a guest can be migrated, before anything is changed: reports every guest-visible difference between two
// domains, and every blocker at the source and at the destination. Modelled on libvirt's ABI check and SrcIsSafe.

import { domain } from "../schema/domain.js";
import { type Difference, differences } from "../xml/differences.js";
import type { Refusal } from "../xml/errors.js";
import { arrival } from "./destination.js";
import { type Incompatibility, type Move, machineName } from "./incompatibility.js";
import { departure } from "./source.js";

/** Returns every blocker; an empty list means that the guest can be migrated. */
export function checkCompatibility(move: Move): readonly Incompatibility[] {
  const { source, destination = source } = move;
  const refused = [
    ...source.refusals.map((refusal) => ofRefusal(refusal, "source")),
    ...(destination === source
      ? []
      : destination.refusals.map((refusal) => ofRefusal(refusal, "destination"))),
  ];
  if (source.model === undefined || destination.model === undefined) return refused;
  const models = { source: source.model, destination: destination.model };
  return [
    ...refused,
    ...differences(domain, models.source, models.destination)
      .filter((difference) => !isOfSameMachine(difference, move))
      .map(ofDifference),
    ...departure(models.source, move),
    ...arrival(models, move),
  ];
}

const tiedToTheHost = /^domain\/devices\/(?:hostdev|filesystem|redirdev)$/;

function ofRefusal(
  { path, line, column, what, next }: Refusal,
  side: "source" | "destination",
): Incompatibility {
  const code = tiedToTheHost.test(path) ? "host-device" : "unsupported";
  return { code, path, source: undefined, destination: undefined, [side]: { line, column }, what, next };
}

function ofDifference({ path, source, destination, places }: Difference): Incompatibility {
  const said = (value: string | undefined) => (value === undefined ? "absent" : `"${value}"`);
  return {
    code: "guest-abi",
    path,
    ...places,
    what: `it is ${said(source)} at the source and ${said(destination)} at the destination`,
    next: "give both sides the same value: a migrated guest keeps its hardware",
  };
}

/** True when one side names the machine by an alias and the other by the version that the alias resolves to. */
function isOfSameMachine({ path, source, destination }: Difference, move: Move): boolean {
  if (path !== "domain/os/type/@machine") return false;
  const { sourceHost, destinationHost } = move;
  return machineName(source, sourceHost) === machineName(destination, destinationHost);
}
