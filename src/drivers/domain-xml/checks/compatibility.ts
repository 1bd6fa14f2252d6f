// Whether a guest can move, asked before anything is touched: every difference between two domains that the guest would
// notice, and every reason why it cannot leave or arrive. Modelled on what libvirt's ABI check and SrcIsSafe hold.

import { domain } from "../schema/domain.js";
import { type Difference, differences } from "../xml/differences.js";
import type { Refusal } from "../xml/errors.js";
import { arrival } from "./destination.js";
import { type Incompatibility, type Move, machineName } from "./incompatibility.js";
import { departure } from "./source.js";

/** All reasons at once; none when the guest can move. */
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
  const said = (value: string | undefined) => (value === undefined ? "not there" : `"${value}"`);
  return {
    code: "guest-abi",
    path,
    ...places,
    what: `it is ${said(source)} at the source and ${said(destination)} at the destination`,
    next: "give the destination what the source has: the guest keeps its hardware",
  };
}

/** One side names a machine by its alias, the other by what the alias stands for. */
function isOfSameMachine({ path, source, destination }: Difference, move: Move): boolean {
  if (path !== "domain/os/type/@machine") return false;
  const { sourceHost, destinationHost } = move;
  return machineName(source, sourceHost) === machineName(destination, destinationHost);
}
