// Selects libvirt's protocol version for a migration from the features of its hosts: as libvirt's client does for a managed
// migration (virDomainMigrate3) and an unmanaged one (virDomainMigrateToURI3, both in src/libvirt-domain.c), and as libvirt's
// daemon does as the coordinator of a peer-to-peer migration (src/qemu/qemu_migration.c).

import { type AskedOfLibvirt, askedByLibvirt } from "../../../protocol/options/asked.js";
import { libvirtNames } from "../../../protocol/options/names.js";
import { refusalsOf } from "../../../protocol/options/rules.js";
import { type MigrateFlag, type MigrateParameters, optionRows } from "../../../protocol/options/table.js";
import type { RpcConnection } from "../rpc/client.js";
import { features } from "../rpc/constants.js";
import { errorCodes, errorDomains, LibvirtError } from "../rpc/libvirt-error.js";
import { remote } from "../rpc/procedures.js";
import { own } from "../rpc/switchover-program.js";

export type Protocol = "version 3 with parameters" | "version 3" | "version 2" | "version 1";

const ofMigration = [
  "migrationV1",
  "migrationV2",
  "migrationV3",
  "migrationParams",
  "migrationP2p",
  "migrationOffline",
  "migrateChangeProtection",
  "xmlMigratable",
] as const satisfies (keyof typeof features)[];
export type Feature = (typeof ofMigration)[number];
export type Features = ReadonlySet<Feature>;

/** Returns the migration features that a host supports. */
export async function featuresOf(rpc: RpcConnection, signal?: AbortSignal): Promise<Features> {
  const has = async (feature: Feature) => {
    const asked = { feature: features[feature] };
    const { supported } = await rpc.call(remote.procedures.connectSupportsFeature, asked, { signal });
    return supported === 0 ? [] : [feature];
  };
  return new Set((await Promise.all(ofMigration.map(has))).flat());
}

export type Asked = AskedOfLibvirt;

/** Selects the protocol of a managed migration. @throws LibvirtError as libvirt's client does. */
export function negotiateManaged(source: Features, destination: Features, asked: Asked): Protocol {
  const { flags, parameters } = asked;
  const both = (feature: Feature) => source.has(feature) && destination.has(feature);
  checkExclusive(asked);
  if (flags.has("PEER2PEER"))
    throw libvirtError(
      "INVALID_ARG",
      "the source coordinates a peer-to-peer migration: send the request to the source",
    );
  if (flags.has("TUNNELLED"))
    throw libvirtError("INVALID_ARG", "a tunnelled migration requires the flag PEER2PEER");
  checkOffline(flags, source, "source");
  checkOffline(flags, destination, "destination");
  if (flags.has("CHANGE_PROTECTION") && !source.has("migrateChangeProtection"))
    throw libvirtError("ARGUMENT_UNSUPPORTED", "the source does not support change protection");
  if (both("migrationParams")) return "version 3 with parameters";
  checkParameters(parameters, ofVersion3, "the hosts support only the parameters of protocol version 3");
  if (both("migrationV3")) return "version 3";
  const older = both("migrationV2") ? "version 2" : both("migrationV1") ? "version 1" : null;
  if (older === null)
    throw libvirtError("NO_SUPPORT", "the hosts do not support a common version of the migration protocol");
  if (parameters.xml !== undefined)
    throw libvirtError(
      "ARGUMENT_UNSUPPORTED",
      `${older} of the migration protocol cannot change the guest's XML`,
    );
  return older;
}

/**
 * Selects the protocol of an unmanaged migration, which the source coordinates. Without PEER2PEER it would be a direct
 * migration, without a libvirt at the destination.
 * @throws LibvirtError as libvirt's client does.
 */
export function negotiateUnmanaged(
  source: Features,
  destinationUri: string,
  asked: Asked,
): Exclude<Protocol, "version 1"> {
  const { flags, parameters } = asked;
  checkExclusive(asked);
  checkOffline(flags, source, "source");
  if (!flags.has("PEER2PEER"))
    throw libvirtError(
      "ARGUMENT_UNSUPPORTED",
      "QEMU does not support direct migration: add the flag PEER2PEER",
    );
  if (!source.has("migrationP2p"))
    throw libvirtError("ARGUMENT_UNSUPPORTED", "the source does not support peer-to-peer migration");
  if (isSameHost(destinationUri))
    throw libvirtError("INVALID_ARG", `the destination URI ${destinationUri} does not name another host`);
  if (source.has("migrationParams")) return "version 3 with parameters";
  const isVersion3 = source.has("migrationV3");
  const known = isVersion3 ? ofVersion3 : ofVersion2;
  checkParameters(
    parameters,
    known,
    `the source supports only the parameters of protocol version ${isVersion3 ? 3 : 2}`,
  );
  if (isVersion3) return "version 3";
  if (parameters.uri !== undefined)
    throw libvirtError(
      "INTERNAL_ERROR",
      "a peer-to-peer migration by protocol version 2 does not support a migration URI",
    );
  return "version 2";
}

/** Selects the protocol as the source that coordinates the migration. @throws LibvirtError as libvirt's daemon does. */
export function negotiateAsSource(
  destination: Features,
  { flags, parameters }: Asked,
): Exclude<Protocol, "version 1"> {
  if (!destination.has("migrationP2p"))
    throw libvirtError("OPERATION_FAILED", "the destination does not support peer-to-peer migration");
  checkOffline(flags, destination, "destination");
  if (destination.has("migrationParams")) return "version 3 with parameters";
  checkParameters(
    parameters,
    ofVersion3,
    "the destination supports only the parameters of protocol version 3",
  );
  return destination.has("migrationV3") ? "version 3" : "version 2";
}

export const version2NeedsIds =
  "version 2 of the migration protocol ends the source's copy before the destination runs the guest, and a libvirtd cannot be queried by the migration id; upgrade the older host";

/** Version 2 has no Confirm: the destination must support queries by migration id. @throws LibvirtError for a libvirtd. */
export async function checkAskedById(destination: RpcConnection, signal?: AbortSignal): Promise<void> {
  try {
    await destination.call(own.procedures.facts, { binary: "qemu-system-x86_64", paths: [] }, { signal });
  } catch (error) {
    if (!(error instanceof LibvirtError)) throw error;
    // The host does not know the switchover program; any other answer comes from a switchoverd.
    if (error.code === errorCodes.RPC) throw libvirtError("ARGUMENT_UNSUPPORTED", version2NeedsIds);
  }
}

const carriedBy = (form: "version 2" | "version 3"): readonly (keyof MigrateParameters)[] =>
  optionRows.flatMap(({ libvirt }) =>
    libvirt?.fixedForms?.includes(form) === true ? (libvirt.as ?? []) : [],
  );
const ofVersion3 = carriedBy("version 3");
const ofVersion2 = carriedBy("version 2");

function checkParameters(
  parameters: MigrateParameters,
  known: readonly (keyof MigrateParameters)[],
  why: string,
): void {
  const beyond = Object.keys(parameters).filter((key) => !known.some((name) => name === key));
  if (beyond.length > 0) throw libvirtError("ARGUMENT_UNSUPPORTED", `${why}: ${beyond.join(", ")}`);
}

function checkExclusive(asked: Asked): void {
  for (const { byClient, code, message } of refusalsOf(askedByLibvirt(asked), libvirtNames))
    if (byClient) throw libvirtError(code, message);
}

function checkOffline(flags: ReadonlySet<MigrateFlag>, of: Features, side: string): void {
  if (flags.has("OFFLINE") && !of.has("migrationOffline"))
    throw libvirtError("ARGUMENT_UNSUPPORTED", `the ${side} does not support offline migration`);
}

/** Checks for localhost, or no host at all. A URI with an explicit socket counts as another host, as in libvirt. */
function isSameHost(text: string): boolean {
  if (!URL.canParse(text)) return true;
  const { protocol, hostname, searchParams } = new URL(text);
  if (hostname !== "") return hostname.startsWith("localhost");
  return !(protocol.endsWith("+unix:") && searchParams.has("socket"));
}

const libvirtError = (code: keyof typeof errorCodes, message: string): LibvirtError =>
  new LibvirtError({ code: errorCodes[code], domain: errorDomains.DOMAIN, message });
