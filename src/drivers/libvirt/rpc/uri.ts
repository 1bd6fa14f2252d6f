// libvirt's connection URIs: where to dial, and which driver to open there. What is not supported is refused by name.

import { RpcConnectError } from "./errors.js";

export type Address =
  /** The first of the sockets that exists; if none does, the first. */
  | { readonly transport: "unix"; readonly paths: readonly [string, ...string[]] }
  | { readonly transport: "tcp"; readonly host: string; readonly port: number }
  | {
      readonly transport: "tls";
      readonly host: string;
      readonly port: number;
      /** A directory with certificates and key of our own; default: libvirt's places below /etc/pki. */
      readonly pkiPath: string | undefined;
    };

export interface ConnectionUri {
  readonly address: Address;
  /** What the daemon is asked to open: the URI without transport, server and parameters. */
  readonly driverUri: string;
}

export interface UriSurroundings {
  readonly readOnly: boolean;
  /** $XDG_RUNTIME_DIR of a user who is not root, whose session has sockets of its own. */
  readonly sessionDirectory: string | undefined;
}

const transports = {
  unix: { port: undefined, parameters: ["socket", "mode"] },
  tcp: { port: 16_509, parameters: [] },
  tls: { port: 16_514, parameters: ["pkipath"] },
} as const;

const isTransport = (name: string): name is keyof typeof transports => Object.hasOwn(transports, name);

/** @throws RpcConnectError naming what is not supported. */
export function parseUri(text: string, surroundings: UriSurroundings): ConnectionUri {
  const refuse = (why: string): never => {
    throw new RpcConnectError(`cannot connect to ${text}: ${why}`);
  };
  if (!URL.canParse(text)) return refuse("it is no URI");
  const url = new URL(text);
  const { pathname, searchParams: parameters } = url;
  const [driver = "", named] = url.protocol.slice(0, -1).split("+");
  const transport = (named ?? (url.host === "" ? "unix" : "tls")).toLowerCase();
  if (driver !== "qemu") return refuse(`the driver ${driver} is not supported, only qemu is`);
  if (!isTransport(transport)) return refuse(`the transport ${transport} is not supported`);
  if (pathname !== "/system" && pathname !== "/session") {
    return refuse(`its path is ${pathname || "empty"} instead of /system or /session`);
  }
  if (url.username !== "") return refuse("a user name is not supported");
  const supported: readonly string[] = transports[transport].parameters;
  for (const name of parameters.keys()) {
    if (!supported.includes(name)) return refuse(`the parameter ${name} is not supported for ${transport}`);
  }
  const driverUri = `qemu://${pathname}`;

  if (transport === "unix") {
    if (url.host !== "") return refuse("a unix socket is on no other host");
    const socket = parameters.get("socket");
    const mode = parameters.get("mode") ?? "auto";
    const paths = socket === null ? socketsOf(mode, pathname, surroundings) : ([socket] as const);
    return paths === undefined
      ? refuse(`the mode ${mode} is not supported`)
      : { address: { transport, paths }, driverUri };
  }
  if (url.hostname === "") return refuse("it names no host");
  const host = url.hostname.replace(/^\[(.*)\]$/, "$1");
  const port = url.port === "" ? transports[transport].port : Number(url.port);
  const pkiPath = parameters.get("pkipath") ?? undefined;
  return {
    address: transport === "tcp" ? { transport, host, port } : { transport, host, port, pkiPath },
    driverUri,
  };
}

/** One daemon for each driver ("direct") has a socket of its own; the older one for all of them ("legacy") another. */
function socketsOf(
  mode: string,
  path: string,
  { readOnly, sessionDirectory }: UriSurroundings,
): readonly [string, ...string[]] | undefined {
  const [directory, suffix] =
    path === "/session" && sessionDirectory !== undefined
      ? [`${sessionDirectory}/libvirt`, ""]
      : ["/run/libvirt", readOnly ? "-ro" : ""];
  const direct = `${directory}/virtqemud-sock${suffix}`;
  const legacy = `${directory}/libvirt-sock${suffix}`;
  switch (mode) {
    case "auto":
      return [direct, legacy];
    case "direct":
      return [direct];
    case "legacy":
      return [legacy];
    default:
      return undefined;
  }
}
