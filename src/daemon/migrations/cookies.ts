// Writes and reads the cookies of the migration steps: libvirt's sections and one of our own.

import type { Domain } from "../../drivers/domain-xml/domain.js";
import { streamWishOf } from "../../drivers/libvirt/client/stream-options.js";
import { type Cookie, readCookie } from "../../drivers/libvirt/cookie/cookie.js";
import { CookieError } from "../../drivers/libvirt/cookie/errors.js";
import { type CookieFeature, cookieFeatures } from "../../drivers/libvirt/cookie/sections.js";
import { writeCookie } from "../../drivers/libvirt/cookie/write.js";
import { neededCapabilities } from "../../drivers/qemu/migration/option-table.js";
import type { GuestDescription, Identity, Prepared } from "../../protocol/messages.js";
import { connectionUri, type StreamAddress, streamAddress } from "../../protocol/peer-text.js";
import type { StreamOptions } from "../../protocol/stream.js";
import type { Host } from "../host.js";
import { orRefuse, reachOf } from "../reach.js";
import { libvirtError } from "../rpc/errors.js";
import { disksForCookie, nbdTold, storageFrom } from "./copied-storage.js";
import type { StepRequest } from "./request.js";

type Named = Pick<Domain, "name" | "uuid">;

/** The sections of Begin's cookie that the destination reads. */
const ofBegin: readonly CookieFeature[] = [
  "lockstate",
  "nbd",
  "cpu",
  "capabilities",
  "memory-hotplug",
  "cpu-hotplug",
];
/** The sections of Prepare's cookie that the source reads. */
const ofPrepare: readonly CookieFeature[] = ["graphics", "nbd", "capabilities"];

/** Writes Begin's cookie, for the destination. */
export async function beginCookie(
  host: Host,
  outgoing: { readonly identity: Identity; readonly domain: Domain; readonly secret: string | null },
  guest: GuestDescription,
): Promise<Uint8Array> {
  const { domain, secret } = outgoing;
  const { live } = host.domains.byUuid(domain.uuid);
  const disks = live === null ? undefined : await disksForCookie(live.guest, domain.model, guest);
  return cookie(host, outgoing.identity, domain.name, guest, {
    ...disks,
    ...(secret !== null && { secret }),
  });
}

/** Writes Prepare's cookie, for the source; `name` is the guest's name at the source. */
export const prepareCookie = (
  host: Host,
  identity: Identity,
  name: string,
  guest: GuestDescription,
  { capabilities, storage }: Prepared,
): Uint8Array =>
  cookie(
    host,
    identity,
    name,
    { ...guest, capabilities },
    { nbd: nbdTold(storage), settle: host.config.uri, journal: host.journal.identity },
  );

function cookie(
  { config: { hostname, hostUuid } }: Host,
  { uuid, migrationId }: Identity,
  name: string,
  guest: GuestDescription,
  {
    settle,
    secret,
    journal,
    ...disks
  }: Partial<Awaited<ReturnType<typeof disksForCookie>>> & {
    readonly settle?: string;
    readonly secret?: string;
    readonly journal?: string;
  },
): Uint8Array {
  return writeCookie({
    name,
    uuid,
    hostname,
    hostUuid,
    features: [],
    nbd: disks.nbd,
    capabilities: { caps: guest.capabilities.map((capability) => ({ name: capability, auto: false })) },
    switchover: {
      version: 1,
      migration: migrationId,
      memory: guest.memoryBytes,
      backings: disks.backings ?? [],
      ...(settle !== undefined && { settle }),
      ...(secret !== undefined && { secret }),
      ...(journal !== undefined && { journal }),
      ...(guest.qemuVersion !== "" && { qemu: guest.qemuVersion }),
      ...(guest.fencingToken !== null && { fencing: guest.fencingToken }),
    },
  });
}

/** The migration that a cookie belongs to. */
export interface Said {
  readonly migrationId: string;
  readonly receipt?: string | undefined;
}

/** Reads the migration from a step's cookie; null when the cookie names none, as from a libvirtd. @throws LibvirtError */
export function saidIn(host: Host, bytes: Uint8Array, domain: Named): Said | null {
  const { switchover } = read(host, bytes, domain, cookieFeatures) ?? {};
  return switchover === undefined ? null : { migrationId: switchover.migration, receipt: switchover.receipt };
}

/** Writes Finish's cookie, for the source: the migration that arrived, the receipt, and the destination's URI for settling. */
export const finishCookie = (
  { config: { hostname, hostUuid, uri } }: Host,
  { uuid, migrationId }: Identity,
  name: string,
  receipt: string | undefined,
): Uint8Array =>
  writeCookie({
    name,
    uuid,
    hostname,
    hostUuid,
    features: [],
    switchover: {
      version: 1,
      migration: migrationId,
      settle: uri,
      backings: [],
      ...(receipt !== undefined && { receipt }),
    },
  });

/** Returns null for an empty cookie. @throws LibvirtError when the cookie cannot be read. */
export const readBeginCookie = (host: Host, bytes: Uint8Array, domain: Named): Cookie | null =>
  read(host, bytes, domain, ofBegin);

export const readPrepareCookie = (host: Host, bytes: Uint8Array, domain: Named): Cookie | null =>
  read(host, bytes, domain, ofPrepare);

/** Returns null for an empty cookie. @throws LibvirtError when the cookie cannot be read. */
export const readFinishCookie = (host: Host, bytes: Uint8Array, domain: Named): Cookie | null =>
  read(host, bytes, domain, cookieFeatures);

/** Converts Prepare's reply for the source. @throws LibvirtError when it is invalid or names an address out of reach. */
export function preparedOf(host: Host, domain: Named, request: StepRequest): Prepared {
  const { uri } = request.parameters;
  if (uri === undefined) throw libvirtError("INTERNAL_ERROR", "the migration URI is missing");
  const address = orRefuse(() => streamAddress(uri, reachOf(host.config)));
  return preparedAt(host, domain, request, address);
}

/** Like `preparedOf`, for a stream address that is parsed already. */
export function preparedAt(host: Host, domain: Named, request: StepRequest, uri: StreamAddress): Prepared {
  const { parameters } = request;
  const reach = reachOf(host.config);
  const known = readPrepareCookie(host, request.cookie, domain);
  const { settle: told, journal, migration } = known?.switchover ?? {};
  const settle =
    told === undefined ? undefined : orRefuse(() => connectionUri(told, { ...reach, certificates: false }));
  const storage = storageFrom(known?.nbd, parameters, uri, reach);
  return {
    uri,
    capabilities: capabilitiesIn(known, streamWishOf(request)),
    ...(settle !== undefined && { settle }),
    ...(known !== null && {
      peer: {
        hostname: known.hostname,
        ...(journal !== undefined && { journal }),
        ...(migration !== undefined && { migrationId: migration }),
      },
    }),
    ...(storage !== undefined && { storage }),
  };
}

/** A peer that sends no capabilities is assumed to have the needed ones, because libvirt allows empty cookies everywhere. */
export const capabilitiesIn = (known: Cookie | null, stream: StreamOptions): readonly string[] =>
  known?.capabilities?.caps.map((cap) => cap.name) ?? neededCapabilities(stream);

function read(
  { config: { hostUuid } }: Host,
  bytes: Uint8Array,
  { name, uuid }: Named,
  reads: readonly CookieFeature[],
): Cookie | null {
  try {
    return readCookie(bytes, { name, uuid, hostUuid, reads })?.cookie ?? null;
  } catch (error) {
    throw error instanceof CookieError
      ? libvirtError("INTERNAL_ERROR", `invalid migration cookie: ${error.message}`, { cause: error })
      : error;
  }
}
