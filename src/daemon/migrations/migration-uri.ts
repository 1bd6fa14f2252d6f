// Determines where the memory stream of an incoming guest is received and which URI the source is given, by libvirt's rules
// (qemuMigrationDstPrepareDirect in src/qemu/qemu_migration.c).

import type { MigrateParameters } from "../../drivers/libvirt/client/flags.js";
import type { ListenAt } from "../../drivers/qemu/migration/listen-address.js";
import { hostName, type SocketPath } from "../../protocol/peer-text.js";
import type { DaemonConfig } from "../config.js";
import { orRefuse, reachOf } from "../reach.js";
import { libvirtError } from "../rpc/errors.js";
import { disksPlace } from "./copied-storage.js";

type Asked = Pick<MigrateParameters, "uri" | "listenAddress" | "disksPort" | "disksUri">;
type Configured = Pick<DaemonConfig, "migration" | "hostname" | "unixDirectories">;

/** `asked.uri` must be `tcp:host[:port]` or `tcp://host[:port]`. @throws LibvirtError when it is not. */
export function listenAt({ migration, hostname }: Configured, { uri, listenAddress }: Asked): ListenAt {
  const free = portsOf(migration);
  const bindFor = (host: string) => orRefuse(() => hostName(listenAddress ?? migration.listen ?? host));
  const own = orRefuse(() => hostName(migration.host ?? hostname));
  if (uri === undefined) return { bind: bindFor(own), host: own, ports: free };
  const { scheme, rest } = /^(?<scheme>[\w+.-]+):(?<rest>.*)$/s.exec(uri)?.groups ?? {};
  if (scheme === undefined || rest === undefined)
    throw libvirtError("INVALID_ARG", `missing scheme in migration URI: ${uri}`);
  if (scheme !== "tcp")
    throw libvirtError("ARGUMENT_UNSUPPORTED", `unsupported scheme ${scheme} in migration URI ${uri}`);
  const { bracketed, name, port } =
    /^(?:\/\/)?(?:\[(?<bracketed>[^\]]+)\]|(?<name>[^:/?#]+))(?::(?<port>\d{1,5}))?\/?$/.exec(rest)?.groups ??
    {};
  const host = bracketed ?? name;
  if (host === undefined) throw libvirtError("INVALID_ARG", `missing host in migration URI: ${uri}`);
  const asked = Number(port ?? 0);
  if (asked > 65_535) throw libvirtError("INVALID_ARG", `invalid port in migration URI: ${uri}`);
  return { bind: bindFor(host), host: orRefuse(() => hostName(host)), ports: asked === 0 ? free : [asked] };
}

function portsOf({ ports: [lowest, highest] }: DaemonConfig["migration"]): readonly number[] {
  return Array.from({ length: highest - lowest + 1 }, (_, index) => lowest + index);
}

/** Returns where the guest's disks are received: the path of a Unix socket, or ports. @throws LibvirtError for other places. */
export function disksAt(configured: Configured, asked: Asked): SocketPath | ListenAt {
  const { uri: _, disksPort = 0, disksUri, ...rest } = asked;
  const free = listenAt(configured, rest);
  if (disksUri === undefined) return { ...free, ports: disksPort === 0 ? free.ports : [disksPort] };
  const place = disksPlace(disksUri, reachOf(configured));
  if ("path" in place) return place.path;
  const { host } = place;
  return { bind: host, host, ports: place.port === undefined ? free.ports : [place.port] };
}
