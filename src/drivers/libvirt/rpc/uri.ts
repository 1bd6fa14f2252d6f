// Parses libvirt's connection URIs: the address to dial, and the driver to open. Unsupported parts are refused by name.

import { RpcConnectError } from "./errors.js";

export type Address =
  /** Candidate sockets: the first that exists is used, or the first when none exists. */
  | { readonly transport: "unix"; readonly paths: readonly [string, ...string[]] }
  | { readonly transport: "tcp"; readonly host: string; readonly port: number }
  | {
      readonly transport: "tls";
      readonly host: string;
      readonly port: number;
      /** Directory with certificates and key; default: libvirt's locations below /etc/pki. */
      readonly pkiPath: string | undefined;
    };

export interface ConnectionUri {
  readonly address: Address;
  /** URI that the daemon opens: without transport, server and parameters. */
  readonly driverUri: string;
}

export interface UriSurroundings {
  readonly readOnly: boolean;
  /** $XDG_RUNTIME_DIR of a user other than root, whose session daemon has its own sockets. */
  readonly sessionDirectory: string | undefined;
}

const transports = {
  unix: { port: undefined, parameters: ["socket", "mode"] },
  tcp: { port: 16_509, parameters: [] },
  tls: { port: 16_514, parameters: ["pkipath"] },
} as const;

const isTransport = (name: string): name is keyof typeof transports => Object.hasOwn(transports, name);

/** @throws RpcConnectError naming the unsupported part. */
export function parseUri(text: string, surroundings: UriSurroundings): ConnectionUri {
  const refuse = (why: string): never => {
    throw new RpcConnectError(`cannot connect to ${text}: ${why}`);
  };
  if (!URL.canParse(text)) return refuse("it is not a valid URI");
  const url = new URL(text);
  const { pathname, searchParams: parameters } = url;
  const [driver = "", named] = url.protocol.slice(0, -1).split("+");
  const transport = (named ?? (url.host === "" ? "unix" : "tls")).toLowerCase();
  if (driver !== "qemu") return refuse(`the driver ${driver} is not supported; use qemu`);
  if (!isTransport(transport)) return refuse(`the transport ${transport} is not supported`);
  if (pathname !== "/system" && pathname !== "/session") {
    return refuse(`the path ${pathname || "(empty)"} is not supported; use /system or /session`);
  }
  if (url.username !== "") return refuse("a user name is not supported; remove it");
  const supported: readonly string[] = transports[transport].parameters;
  for (const name of parameters.keys()) {
    if (!supported.includes(name)) return refuse(`the parameter ${name} is not supported for ${transport}`);
  }
  const driverUri = `qemu://${pathname}`;

  if (transport === "unix") {
    if (url.host !== "")
      return refuse("a unix socket cannot be on another host; remove the host, or use tls or tcp");
    const socket = parameters.get("socket");
    const mode = parameters.get("mode") ?? "auto";
    const paths = socket === null ? socketsOf(mode, pathname, surroundings) : ([socket] as const);
    return paths === undefined
      ? refuse(`the mode ${mode} is not supported`)
      : { address: { transport, paths }, driverUri };
  }
  if (url.hostname === "") return refuse("the host is missing");
  const host = url.hostname.replace(/^\[(.*)\]$/, "$1");
  const port = url.port === "" ? transports[transport].port : Number(url.port);
  const pkiPath = parameters.get("pkipath") ?? undefined;
  return {
    address: transport === "tcp" ? { transport, host, port } : { transport, host, port, pkiPath },
    driverUri,
  };
}

/** The per-driver daemon ("direct") and the older daemon for all drivers ("legacy") use different sockets. */
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
