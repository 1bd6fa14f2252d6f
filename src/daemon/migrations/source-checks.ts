// Checks in Begin, before anything is changed, that a guest may be migrated as requested: the guest hardware must be the same,
// and both hosts must see the same disks; UNSAFE waives the latter.

import { checkCompatibility } from "../../drivers/domain-xml/checks/compatibility.js";
import type {
  Incompatibility,
  IncompatibilityCode,
} from "../../drivers/domain-xml/checks/incompatibility.js";
import type { Domain } from "../../drivers/domain-xml/domain.js";
import { binaryOf } from "../../drivers/domain-xml/qemu-args/build.js";
import { isBrokenInPostcopy, type ManagedDomain } from "../domains/managed-domain.js";
import type { Host } from "../host.js";
import { hostFacts } from "../host-facts.js";
import { libvirtError } from "../rpc/errors.js";
import { chosenDisks } from "./copied-storage.js";
import { checkEncrypted } from "./encryption.js";
import type { StepRequest } from "./request.js";

const unsafe: ReadonlySet<IncompatibilityCode> = new Set(["disk-local", "disk-unsafe"]);

/** @throws LibvirtError listing every reason. */
export async function checkMayLeave(host: Host, entry: ManagedDomain, request: StepRequest): Promise<void> {
  const { flags, parameters } = request;
  const { xml } = parameters;
  const { domains, policy } = host;
  if (isBrokenInPostcopy(entry))
    throw libvirtError("OPERATION_INVALID", "the guest was lost in post-copy and cannot be migrated");
  if (flags.has("POSTCOPY") && policy.whenUnreachable === "fence")
    throw libvirtError(
      "ARGUMENT_UNSUPPORTED",
      'post-copy conflicts with this host\'s policy "fence": fencing the destination cannot bring back a guest whose memory is split between both hosts',
    );
  checkEncrypted(host.config, request);
  const { domain: source } = domains.liveOf(entry);
  if (entry.state.name !== "paused" && !flags.has("LIVE"))
    throw libvirtError(
      "ARGUMENT_UNSUPPORTED",
      "a migration without LIVE requires a paused guest; suspend it first",
    );
  const destination = xml === undefined ? source : destinationOf(domains.parse(xml), source);
  const binary = binaryOf(source.model);
  const disks = source.model?.devices.disks ?? [];
  const files = disks.flatMap((disk) =>
    disk.type === "file" && disk.source !== undefined ? [disk.source.file] : [],
  );
  const sourceHost = await hostFacts(host, binary, files);
  const copiedDisks = chosenDisks(source.model, request).map((disk) => disk.target.dev);
  const reasons = checkCompatibility({ source, destination, sourceHost, copiedDisks });
  const grave = reasons.filter((reason) => !unsafe.has(reason.code));
  if (grave.length > 0) throw libvirtError("CONFIG_UNSUPPORTED", told(grave));
  if (reasons.length > 0 && !flags.has("UNSAFE")) throw libvirtError("MIGRATE_UNSAFE", told(reasons));
}

/** Checks that the definition for the destination has the guest's own name and uuid; a new name is given separately. */
export function destinationOf(given: Domain, { name, uuid }: Pick<Domain, "name" | "uuid">): Domain {
  if (given.name === name && given.uuid === uuid) return given;
  throw libvirtError(
    "CONFIG_UNSUPPORTED",
    `the XML for the destination describes '${given.name}' (${given.uuid}), not '${name}' (${uuid})`,
  );
}

const told = (reasons: readonly Incompatibility[]): string =>
  reasons.map(({ path, what, next }) => `${path}: ${what}; ${next}`).join("\n");
