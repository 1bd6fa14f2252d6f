// The disks that are copied with a guest, by libvirt's flags and parameters: which disks, their images at the destination,
// and the address that they are copied to. The rules are those of libvirt's src/qemu/qemu_migration.c.

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

/** Returns the disks to copy. @throws LibvirtError when a requested disk does not exist or cannot be copied. */
export function chosenDisks(
  model: DomainModel | undefined,
  request: Pick<StepRequest, "flags" | "parameters">,
): readonly Disk[] {
  if (model === undefined || !copiesStorage(request)) return [];
  const all = model.devices.disks;
  const { disks: wanted } = request.parameters;
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

/** Returns the copy job for the source's QEMU; null when no disk is copied. @throws LibvirtError as `chosenDisks`. */
export function copyOf(model: DomainModel | undefined, request: StepRequest): StorageCopy | null {
  if (model === undefined || !copiesStorage(request)) return null;
  return {
    disks: chosenDisks(model, request).map((chosenDisk) => diskId(model, chosenDisk)),
    sync: request.flags.has("NON_SHARED_INC") ? "top" : "full",
    synchronousWrites: request.flags.has("NON_SHARED_SYNCHRONOUS_WRITES"),
  };
}

/** Returns the part of Begin's cookie about the copied disks and their backing files. */
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

/** Returns the disks and images for the destination's QEMU. @throws LibvirtError when a missing image cannot be created. */
export function incomingDisks(
  model: DomainModel | undefined,
  request: StepRequest,
  cookie: Cookie | null,
): { disks: readonly CopiedDisk[]; images: readonly Image[] } {
  const chosen = chosenDisks(model, request);
  if (model === undefined || chosen.length === 0) return { disks: [], images: [] };
  if (cookie === null)
    throw libvirtError(
      "OPERATION_UNSUPPORTED",
      "copying disks requires version 3 of libvirt's migration protocol",
    );
  const capacities = new Map(cookie.nbd?.disks.map((disk) => [disk.target, disk.capacity]));
  const disks: CopiedDisk[] = [];
  const images: Image[] = [];
  for (const disk of chosen) {
    const capacityBytes = capacities.get(disk.target.dev);
    if (capacityBytes === undefined) continue;
    const name = diskId(model, disk);
    disks.push({ name, capacityBytes });
    if (disk.type === "file" && disk.source !== undefined)
      images.push(imageOf(disk, disk.source.file, name, request, cookie));
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
      `the image ${path} cannot be created: libvirtd does not report the backing file of disk ${target.dev}; create the image first`,
    );
  const backing = switchover?.backings.find((file) => file.target === target.dev);
  return backing === undefined
    ? image
    : { ...image, backing: { path: backing.file, format: backing.format } };
}

/** Returns the disks' section of Prepare's cookie. */
export const nbdTold = (storage: StreamAddress | undefined): Nbd | undefined => {
  if (storage === undefined) return undefined;
  const parts = partsOf(storage);
  return { disks: [], ...(parts.type === "tcp" && { port: parts.port }) };
};

/**
 * Returns the address that the source copies disks to; `uri` is the address of the memory stream. Undefined when the
 * destination offers none. @throws LibvirtError when the address is out of reach.
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

/** @throws LibvirtError when the URI is neither `tcp://host[:port]` nor `unix:///path`. */
export function disksPlace(uri: string, reach: Reach): DisksPlace {
  const { scheme, rest = "" } = /^(?<scheme>[\w+.-]+):\/\/(?<rest>.*)$/s.exec(uri)?.groups ?? {};
  if (scheme === "unix") {
    if (!rest.startsWith("/")) throw libvirtError("INVALID_ARG", `the disks URI ${uri} has no path`);
    return { path: orRefuse(() => socketPath(rest, reach)) };
  }
  if (scheme !== "tcp") throw libvirtError("INVALID_ARG", `unsupported scheme in disks URI: ${uri}`);
  const { host, port } = /^(?<host>\[[^\]]+\]|[^:/?#]+)(?::(?<port>\d{1,5}))?\/?$/.exec(rest)?.groups ?? {};
  if (host === undefined) throw libvirtError("INVALID_ARG", `the disks URI ${uri} has no host`);
  const name = orRefuse(() => hostName(host.replace(/^\[|\]$/g, "")));
  return { host: name, port: port === undefined || Number(port) === 0 ? undefined : Number(port) };
}
