// The disks that travel with a guest, by libvirt's words: which they are, what their images at the destination are, and
// where their copies are taken. Facts: facts/libvirt-migration-detail.md, Begin 4 to 6 and Prepare 6.

import { statSync } from "node:fs";
import { diskId } from "../../drivers/domain-xml/schema/derived-properties.js";
import type { Disk } from "../../drivers/domain-xml/schema/disk.js";
import type { DomainModel } from "../../drivers/domain-xml/schema/domain.js";
import type { MigrateParameters } from "../../drivers/libvirt/client/flags.js";
import type { Cookie } from "../../drivers/libvirt/cookie/cookie.js";
import type { StorageCopy } from "../../drivers/qemu/guest/source-guest.js";
import { type BlockDevice, blockDevices } from "../../drivers/qemu/storage/block-devices.js";
import type { Image } from "../../drivers/qemu/storage/images.js";
import type { RunningGuest } from "../../library/local/running-guest.js";
import type { CopiedDisk, GuestDescription } from "../../protocol/messages.js";
import {
  type HostName,
  hostName,
  hostOf,
  partsOf,
  type Reach,
  type SocketPath,
  type StreamAddress,
  socketPath,
  streamAddress,
  tcpAddress,
  unixAddress,
} from "../../protocol/peer-text.js";
import { orRefuse } from "../reach.js";
import { libvirtError } from "../rpc/errors.js";
import type { StepRequest } from "./request.js";

type Nbd = NonNullable<Cookie["nbd"]>;
type Backings = NonNullable<Cookie["switchover"]>["backings"];

export const copiesStorage = ({ flags }: Pick<StepRequest, "flags">): boolean =>
  flags.has("NON_SHARED_DISK") || flags.has("NON_SHARED_INC");

/** @throws LibvirtError when a disk that is wanted is not there, or cannot be copied. */
export function chosenDisks(
  model: DomainModel | undefined,
  words: Pick<StepRequest, "flags" | "parameters">,
): readonly Disk[] {
  if (model === undefined || !copiesStorage(words)) return [];
  const all = model.devices.disks;
  const { disks: wanted } = words.parameters;
  if (wanted === undefined) return all.filter((disk) => isWritten(disk) && !disk.shareable);
  const [missing] = wanted.filter((target) => !all.some((disk) => disk.target.dev === target));
  if (missing !== undefined) throw libvirtError("INVALID_ARG", `disk target ${missing} not found`);
  const chosen = all.filter((disk) => wanted.includes(disk.target.dev));
  const [unfit] = chosen.filter((disk) => !isWritten(disk));
  if (unfit !== undefined)
    throw libvirtError("OPERATION_UNSUPPORTED", `Cannot migrate empty or read-only disk ${unfit.target.dev}`);
  return chosen;
}

const isWritten = ({ source, readonly, device }: Disk): boolean =>
  source !== undefined && !readonly && device === "disk";

/** For the source's QEMU; null when nothing is copied. @throws LibvirtError as `chosenDisks` does. */
export function copyOf(model: DomainModel | undefined, words: StepRequest): StorageCopy | null {
  if (model === undefined || !copiesStorage(words)) return null;
  return {
    disks: chosenDisks(model, words).map((chosenDisk) => diskId(model, chosenDisk)),
    sync: words.flags.has("NON_SHARED_INC") ? "top" : "full",
    synchronousWrites: words.flags.has("NON_SHARED_SYNCHRONOUS_WRITES"),
  };
}

/** What Begin's cookie tells of the disks that are copied, and of what lies below them. */
export async function disksForCookie(
  { process }: RunningGuest,
  model: DomainModel | undefined,
  { disks }: GuestDescription,
): Promise<{ nbd: Nbd | undefined; backings: Backings }> {
  if (model === undefined || disks.length === 0) return { nbd: undefined, backings: [] };
  const devices = new Map(
    (await blockDevices(process.main)).map((blockDevice) => [blockDevice.name, blockDevice]),
  );
  const targets = new Map(model.devices.disks.map((disk) => [diskId(model, disk), disk.target.dev]));
  const named = disks.flatMap(({ name, capacityBytes }) => {
    const target = targets.get(name);
    return target === undefined ? [] : [{ target, capacity: capacityBytes, device: devices.get(name) }];
  });
  return {
    nbd: { disks: named.map(({ target, capacity }) => ({ target, capacity })) },
    backings: named.flatMap(({ target, device }) => backingOf(target, device)),
  };
}

const backingOf = (target: string, device: BlockDevice | undefined): Backings => {
  const { backing } = device ?? {};
  return backing === undefined ? [] : [{ target, file: backing.path, format: backing.format }];
};

/** For the destination's QEMU, from Begin's cookie. @throws LibvirtError when an image would have to be made and cannot be. */
export function incomingDisks(
  model: DomainModel | undefined,
  words: StepRequest,
  cookie: Cookie | null,
): { disks: readonly CopiedDisk[]; images: readonly Image[] } {
  const chosen = chosenDisks(model, words);
  if (model === undefined || chosen.length === 0) return { disks: [], images: [] };
  if (cookie === null)
    throw libvirtError("OPERATION_UNSUPPORTED", "disks are copied by version 3 of libvirt's protocol alone");
  const capacities = new Map(cookie.nbd?.disks.map((disk) => [disk.target, disk.capacity]));
  const disks: CopiedDisk[] = [];
  const images: Image[] = [];
  for (const disk of chosen) {
    const capacityBytes = capacities.get(disk.target.dev);
    if (capacityBytes === undefined) continue;
    const name = diskId(model, disk);
    disks.push({ name, capacityBytes });
    if (disk.type === "file" && disk.source !== undefined)
      images.push(imageOf(disk, disk.source.file, name, words, cookie));
  }
  return { disks, images };
}

function imageOf(
  { target, driver }: Disk,
  path: string,
  disk: string,
  { flags }: StepRequest,
  { switchover }: Cookie,
): Image {
  const image = { disk, path, format: driver?.type ?? "raw" } as const;
  if (!flags.has("NON_SHARED_INC")) return image;
  if (switchover === undefined && statSync(path, { throwIfNoEntry: false }) === undefined)
    throw libvirtError(
      "OPERATION_UNSUPPORTED",
      `the image ${path} cannot be made: a libvirtd does not tell what lies below disk ${target.dev}; make it before`,
    );
  const backing = switchover?.backings.find((candidate) => candidate.target === target.dev);
  return backing === undefined
    ? image
    : { ...image, backing: { path: backing.file, format: backing.format } };
}

/** Prepare's answer about the disks. */
export const nbdTold = (storage: StreamAddress | undefined): Nbd | undefined => {
  if (storage === undefined) return undefined;
  const parts = partsOf(storage);
  return { disks: [], ...(parts.type === "tcp" && { port: parts.port }) };
};

/**
 * Where the source copies to; `uri` is where the memory goes. Undefined when the destination offers nothing.
 * @throws LibvirtError when it is out of reach.
 */
export function storageFrom(
  nbd: Nbd | undefined,
  { disksUri }: MigrateParameters,
  uri: StreamAddress,
  reach: Reach,
): StreamAddress | undefined {
  if (nbd === undefined) return undefined;
  const asked = disksUri === undefined ? undefined : disksPlace(disksUri, reach);
  if (asked !== undefined && "path" in asked) return unixAddress(asked.path);
  const host = asked?.host ?? hostOf(uri);
  const port = asked?.port ?? nbd.port;
  if (host === undefined || port === undefined) return undefined;
  return orRefuse(() => streamAddress(tcpAddress(host, port), reach));
}

export type DisksPlace =
  | { readonly path: SocketPath }
  | { readonly host: HostName; readonly port: number | undefined };

/** @throws LibvirtError when it is neither `tcp://host[:port]` nor `unix:///path`. */
export function disksPlace(uri: string, reach: Reach): DisksPlace {
  const { scheme, rest = "" } = /^(?<scheme>[\w+.-]+):\/\/(?<rest>.*)$/s.exec(uri)?.groups ?? {};
  if (scheme === "unix") {
    if (!rest.startsWith("/")) throw libvirtError("INVALID_ARG", `the disks URI ${uri} has no path`);
    return { path: orRefuse(() => socketPath(rest, reach)) };
  }
  if (scheme !== "tcp") throw libvirtError("INVALID_ARG", `unsupported scheme in disks URI: ${uri}`);
  const { host, port } = /^(?<host>\[[^\]]+\]|[^:/?#]+)(?::(?<port>\d{1,5}))?\/?$/.exec(rest)?.groups ?? {};
  if (host === undefined) throw libvirtError("INVALID_ARG", `the disks URI ${uri} names no host`);
  const name = orRefuse(() => hostName(host.replace(/^\[|\]$/g, "")));
  return { host: name, port: port === undefined || Number(port) === 0 ? undefined : Number(port) };
}
