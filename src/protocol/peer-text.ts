// Addresses that arrive as text: from another host, from a client, from a story on disk. Each is parsed here, once,
// against an allow-list, into a type that only this module can create; QEMU and the dialling code accept only those
// types. Upholds G1: a peer cannot make this host run a command, or connect to an address that only this host can
// reach.

import { printable, quoted } from "./printable.js";

declare const parsed: unique symbol;
type Parsed<Kind extends string> = string & { readonly [parsed]: Kind };

/** Address at which a QEMU listens or to which it connects, in QEMU's form: `unix:/path` or `tcp:host:port`. */
export type StreamAddress = Parsed<"stream address">;
/** A host's name, or its address without brackets. */
export type HostName = Parsed<"host name">;
/** The absolute path of a unix socket. */
export type SocketPath = Parsed<"socket path">;
/** URI of a daemon, in libvirt's form: `qemu+tls://host/system`. */
export type ConnectionUri = Parsed<"connection URI">;

/** The text is not valid; the message gives the reason and is safe to print. */
export class PeerTextError extends Error {
  override readonly name = "PeerTextError";
}

/** Which of the addresses that others supply this host connects to. */
export interface Reach {
  /** `/directory`: the sockets in it; `/directory/**`: also those below it. */
  readonly unixDirectories: readonly string[];
  /** Whether loopback addresses may stand for other hosts, as when both hosts are on one machine. */
  readonly loopback: boolean;
}

/** For addresses that this host generated, and for those that their receiver checks. */
export const anywhere: Reach = { unixDirectories: ["/**"], loopback: true };

/** A migration id is also used in file and directory names. */
export const isMigrationId = (text: string): boolean => /^[\w-]{1,64}$/.test(text);

const longest = 1_024;
/** The kernel limits the path of a unix socket to 107 bytes (unix(7)). */
const maxPathLength = 107;

const refuse = (what: string, text: string, why: string): never => {
  throw new PeerTextError(`the ${what} ${quoted(text)} is refused: ${why}`);
};

/** The only place in which text becomes an address. */
const as = <Kind extends string>(text: string): Parsed<Kind> => text as Parsed<Kind>;

/** @throws PeerTextError when it is neither the name nor the address of a host. */
export function hostName(text: string): HostName {
  if (!isHost(text))
    return refuse("host", text, "it must be a host name, an IPv4 address or an IPv6 address without a zone");
  return as(text);
}

const label = /^(?!-)[A-Za-z\d_-]{1,63}(?<!-)$/;
const ipv4 = /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}$/;

function isHost(text: string): boolean {
  if (text.includes(":")) return isIpv6(text);
  if (ipv4.test(text)) return true;
  const labels = text.replace(/\.$/, "").split(".");
  const last = labels.at(-1) ?? "";
  // Resolvers read 0x7f.1 and 2130706433 as addresses.
  const isNumber = /^(?:\d+|0[xX][\da-fA-F]*)$/.test(last);
  return text.length <= 253 && labels.every((part) => label.test(part)) && !isNumber;
}

const isIpv6 = (text: string): boolean => /^[\da-fA-F:.]{2,45}$/.test(text) && URL.canParse(`x://[${text}]/`);

/** Includes what resolvers and kernels treat as loopback: the unspecified addresses, and IPv4 within IPv6. */
export function isLoopback(host: HostName): boolean {
  const name = host.toLowerCase().replace(/\.$/, "");
  if (!name.includes(":")) {
    if (ipv4.test(name)) return /^(?:127|0)\./.test(name);
    return /(?:^|\.)localhost(?:\.localdomain)?\d*$/.test(name) || /^ip6-(?:localhost|loopback)$/.test(name);
  }
  // The URL parser returns the shortest form, with hexadecimal digits only.
  const short = new URL(`x://[${name}]/`).hostname.slice(1, -1);
  if (short === "::" || short === "::1") return true;
  const [, high] = /^::(?:ffff:)?([\da-f]{1,4}):[\da-f]{1,4}$/.exec(short) ?? [];
  const first = high === undefined ? undefined : Number.parseInt(high, 16) >> 8;
  return first === 127 || first === 0;
}

/** @throws PeerTextError when it is not the plain, absolute path of a socket, or is outside `reach`. */
export function socketPath(text: string, reach: Reach): SocketPath {
  const what = "unix socket";
  if (!text.startsWith("/")) return refuse(what, text, "its path must be absolute");
  if (printable(text) !== text || text.includes(","))
    return refuse(what, text, "its path must not contain control characters or commas");
  if (
    text
      .slice(1)
      .split("/")
      .some((part) => ["", ".", ".."].includes(part))
  )
    return refuse(what, text, "its path must not contain empty parts, . or ..");
  if (new TextEncoder().encode(text).length > maxPathLength)
    return refuse(what, text, `its path is longer than ${maxPathLength} bytes`);
  if (!reach.unixDirectories.some((place) => isIn(place, text)))
    return refuse(what, text, "its directory is not among those of this host's unixDirectories");
  return as(text);
}

/** Returns whether `path` is in the directory `place`, or, when `place` ends in a double star, anywhere below it. */
export function isIn(place: string, path: string): boolean {
  if (place.endsWith("/**")) return path.startsWith(place.slice(0, -2));
  return path.slice(0, path.lastIndexOf("/")) === place.replace(/\/$/, "");
}

export type StreamParts =
  | { readonly type: "unix"; readonly path: SocketPath }
  | { readonly type: "tcp"; readonly host: HostName; readonly port: number };

/** Also accepts libvirt's forms with slashes. @throws PeerTextError when QEMU must not be given this address. */
export function streamAddress(text: string, reach: Reach): StreamAddress {
  const parts = partsIn(text, reach);
  if (parts.type === "unix") return unixAddress(parts.path);
  if (parts.port === 0) return refuse("address", text, "its port must be from 1 to 65535");
  if (!reach.loopback && isLoopback(parts.host))
    return refuse("address", text, "it is a loopback address and cannot belong to another host");
  return tcpAddress(parts.host, parts.port);
}

function partsIn(text: string, reach: Reach): StreamParts {
  const what = "address";
  if (text.length > longest) return refuse(what, text, `it is longer than ${longest} characters`);
  const [, scheme, rest = ""] = /^([A-Za-z][A-Za-z\d+.-]*):(.*)$/s.exec(text) ?? [];
  if (scheme === undefined) return refuse(what, text, "it has no scheme; it must be tcp: or unix:");
  if (scheme === "rdma") return refuse(what, text, "rdma is not supported; use tcp");
  const plain = rest.replace(/^\/\//, "");
  if (scheme === "unix") return { type: "unix", path: socketPath(plain, reach) };
  if (scheme !== "tcp")
    return refuse(what, text, `the scheme ${quoted(scheme)} is not supported; use tcp or unix`);
  const [, bracketed, name = "", port = ""] =
    /^(?:\[([^\]]*)\]|([^:[\]]*))(?::(.*?)\/?)?$/s.exec(plain) ?? [];
  if (bracketed !== undefined && !bracketed.includes(":"))
    return refuse(what, text, "its host is in brackets but is not an IPv6 address");
  const host = hostName(bracketed ?? name);
  if (!/^(?:0|[1-9]\d{0,4})$/.test(port) || Number(port) > 65_535)
    return refuse(what, text, "its port must be a number from 1 to 65535");
  return { type: "tcp", host, port: Number(port) };
}

export const partsOf = (address: StreamAddress): StreamParts => partsIn(address, anywhere);

/** Returns undefined for a unix socket. */
export function hostOf(address: StreamAddress): HostName | undefined {
  const parts = partsOf(address);
  return parts.type === "tcp" ? parts.host : undefined;
}

export const unixAddress = (path: SocketPath): StreamAddress => as(`unix:${path}`);

/** `port` 0 lets the kernel choose, for an address to listen at. @throws PeerTextError when the port is not valid. */
export function tcpAddress(host: HostName, port: number): StreamAddress {
  if (!Number.isInteger(port) || port < 0 || port > 65_535)
    return refuse("port", String(port), "it must be a number from 0 to 65535");
  return as(`tcp:${host.includes(":") ? `[${host}]` : host}:${port}`);
}

/**
 * Returns whether text from a story or the monitor has the form that `streamAddress`, `unixAddress` and `tcpAddress`
 * return.
 */
export const isStreamAddress = (text: string): text is StreamAddress =>
  isParsed(text, (uri) => {
    const parts = partsIn(uri, anywhere);
    return parts.type === "unix" ? unixAddress(parts.path) : tcpAddress(parts.host, parts.port);
  });
export const isHostName = (text: string): text is HostName => isParsed(text, hostName);
export const isSocketPath = (text: string): text is SocketPath =>
  isParsed(text, (uri) => socketPath(uri, anywhere));
export const isConnectionUri = (text: string): text is ConnectionUri =>
  isParsed(text, (uri) => connectionUri(uri, { ...anywhere, certificates: true }));

function isParsed(text: string, parse: (text: string) => string): boolean {
  try {
    return parse(text) === text;
  } catch (error) {
    if (error instanceof PeerTextError) return false;
    throw error;
  }
}

const transports: Readonly<Record<string, readonly string[]>> = {
  "qemu:": ["socket", "mode", "pkipath"],
  "qemu+unix:": ["socket", "mode"],
  "qemu+tcp:": [],
  "qemu+tls:": ["pkipath"],
};
/** The socket of a URI that names none. */
const libvirtsSocket = "/run/libvirt/libvirt-sock";

/**
 * `certificates`: whether the URI may name a certificate directory. A client may name one and another host may not,
 * since the directory is on this host. @throws PeerTextError when this host must not connect to it.
 */
export function connectionUri(
  text: string,
  reach: Reach & { readonly certificates: boolean },
): ConnectionUri {
  const what = "connection URI";
  if (text.length > longest) return refuse(what, text, `it is longer than ${longest} characters`);
  if (!/^[!-~]+$/.test(text) || !URL.canParse(text)) return refuse(what, text, "it is not a URI");
  const { protocol, username, password, host, hostname, port, pathname, searchParams, hash } = new URL(text);
  const parameters = transports[protocol];
  if (parameters === undefined)
    return refuse(what, text, `the scheme ${quoted(protocol.slice(0, -1))} is not supported`);
  if (username !== "" || password !== "" || hash !== "")
    return refuse(what, text, "it must not name a user, a password or a fragment");
  if (pathname !== "/system" && pathname !== "/session")
    return refuse(what, text, "its path must be /system or /session");
  const names = [...searchParams.keys()];
  const unknown = names.find((name, at) => !parameters.includes(name) || names.indexOf(name) !== at);
  if (unknown !== undefined) return refuse(what, text, `the parameter ${quoted(unknown)} is not supported`);
  const pkiPath = searchParams.get("pkipath");
  if (pkiPath !== null && !reach.certificates)
    return refuse(what, text, "pkipath names a directory on this host");
  if (pkiPath !== null && !(pkiPath.startsWith("/") && printable(pkiPath) === pkiPath))
    return refuse(what, text, "its pkipath must be absolute");
  if (protocol === "qemu+unix:" || host === "") {
    if (host !== "") return refuse(what, text, "a unix socket cannot be on another host");
    if (protocol !== "qemu:" && protocol !== "qemu+unix:")
      return refuse(what, text, "it does not name a host");
    socketPath(searchParams.get("socket") ?? libvirtsSocket, reach);
    return as(text);
  }
  if (searchParams.has("socket") || searchParams.has("mode"))
    return refuse(what, text, "a socket cannot be on another host");
  const name = hostName(hostname.replace(/^\[(.*)\]$/, "$1"));
  if (port === "0") return refuse(what, text, "its port must be from 1 to 65535");
  if (!reach.loopback && isLoopback(name))
    return refuse(what, text, "it is a loopback address and cannot belong to another host");
  return as(text);
}
