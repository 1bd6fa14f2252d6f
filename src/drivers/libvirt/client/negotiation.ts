// Which of libvirt's protocols a migration takes, by what its hosts can: exactly as libvirt's own client decides it for
// a managed migration (virDomainMigrate3) and for one that the source leads or does alone (virDomainMigrateToURI3), and as
// its daemon does when it leads one (facts/libvirt-migration-detail.md).

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

/** What a host can of migration. */
export async function featuresOf(rpc: RpcConnection, signal?: AbortSignal): Promise<Features> {
  const has = async (feature: Feature) => {
    const asked = { feature: features[feature] };
    const { supported } = await rpc.call(remote.procedures.connectSupportsFeature, asked, { signal });
    return supported === 0 ? [] : [feature];
  };
  return new Set((await Promise.all(ofMigration.map(has))).flat());
}

export type Asked = AskedOfLibvirt;

/** @throws LibvirtError as libvirt's client does. */
export function negotiateManaged(source: Features, destination: Features, asked: Asked): Protocol {
  const { flags, parameters } = asked;
  const both = (feature: Feature) => source.has(feature) && destination.has(feature);
  checkExclusive(asked);
  if (flags.has("PEER2PEER"))
    throw libvirtError("INVALID_ARG", "a peer-to-peer migration is led by its source");
  if (flags.has("TUNNELLED"))
    throw libvirtError("INVALID_ARG", "a tunnelled migration has to be peer-to-peer");
  checkOffline(flags, source, "source");
  checkOffline(flags, destination, "destination");
  if (flags.has("CHANGE_PROTECTION") && !source.has("migrateChangeProtection"))
    throw libvirtError("ARGUMENT_UNSUPPORTED", "the source cannot protect the guest from changes");
  if (both("migrationParams")) return "version 3 with parameters";
  checkParameters(parameters, ofVersion3, "the hosts know no parameters beyond libvirt's first ones");
  if (both("migrationV3")) return "version 3";
  const older = both("migrationV2") ? "version 2" : both("migrationV1") ? "version 1" : null;
  if (older === null)
    throw libvirtError("NO_SUPPORT", "the hosts have no version of the migration protocol in common");
  if (parameters.xml !== undefined)
    throw libvirtError(
      "ARGUMENT_UNSUPPORTED",
      `${older} of the migration protocol cannot change the guest's XML`,
    );
  return older;
}

/**
 * Led by the source; without PEER2PEER it would be direct, without a libvirt at the destination.
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
  if (!flags.has("PEER2PEER")) throw libvirtError("ARGUMENT_UNSUPPORTED", "QEMU has no direct migration");
  if (!source.has("migrationP2p"))
    throw libvirtError("ARGUMENT_UNSUPPORTED", "the source has no peer-to-peer migration");
  if (isSameHost(destinationUri))
    throw libvirtError("INVALID_ARG", `${destinationUri} does not name another host`);
  if (source.has("migrationParams")) return "version 3 with parameters";
  const isVersion3 = source.has("migrationV3");
  const known = isVersion3 ? ofVersion3 : ofVersion2;
  checkParameters(parameters, known, "the source knows no parameters beyond libvirt's first ones");
  if (isVersion3) return "version 3";
  if (parameters.uri !== undefined)
    throw libvirtError("INTERNAL_ERROR", "a peer-to-peer migration by version 2 has no migration URI");
  return "version 2";
}

/** As a source that leads. @throws LibvirtError as libvirt's daemon does. */
export function negotiateAsSource(
  destination: Features,
  { flags, parameters }: Asked,
): Exclude<Protocol, "version 1"> {
  if (!destination.has("migrationP2p"))
    throw libvirtError("OPERATION_FAILED", "the destination has no peer-to-peer migration");
  checkOffline(flags, destination, "destination");
  if (destination.has("migrationParams")) return "version 3 with parameters";
  checkParameters(parameters, ofVersion3, "the destination knows no parameters beyond libvirt's first ones");
  return destination.has("migrationV3") ? "version 3" : "version 2";
}

export const version2NeedsIds =
  "version 2 of the migration protocol ends the source's copy before the destination runs the guest, and a libvirtd cannot be asked by the migration's id whether it does; upgrade the older host";

/** Version 2 has no Confirm: the destination must be one that is asked by id. @throws LibvirtError for a libvirtd. */
export async function checkAskedById(destination: RpcConnection, signal?: AbortSignal): Promise<void> {
  try {
    await destination.call(own.procedures.facts, { binary: "qemu-system-x86_64", paths: [] }, { signal });
  } catch (error) {
    if (!(error instanceof LibvirtError)) throw error;
    // It does not know our program at all; any other answer is a switchoverd's.
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
    throw libvirtError("ARGUMENT_UNSUPPORTED", `the ${side} has no offline migration`);
}

/** By its usual name, or by none; somebody who names a socket is taken to know where it leads. */
function isSameHost(text: string): boolean {
  if (!URL.canParse(text)) return true;
  const { protocol, hostname, searchParams } = new URL(text);
  if (hostname !== "") return hostname.startsWith("localhost");
  return !(protocol.endsWith("+unix:") && searchParams.has("socket"));
}

const libvirtError = (code: keyof typeof errorCodes, message: string): LibvirtError =>
  new LibvirtError({ code: errorCodes[code], domain: errorDomains.DOMAIN, message });
