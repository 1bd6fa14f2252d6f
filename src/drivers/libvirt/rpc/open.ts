// Opens and closes a hypervisor connection at a daemon: the exchange with which every libvirt client starts and ends.

import type { Clock } from "../../../effects/ports.js";
import { messageOf } from "../../../protocol/effect-result.js";
import { RpcConnection } from "./client.js";
import { dial } from "./connect.js";
import { authTypes, connectFlags, features } from "./constants.js";
import { RpcConnectError } from "./errors.js";
import type { KeepaliveTimes } from "./keepalive.js";
import { remote } from "./procedures.js";
import { parseUri } from "./uri.js";

export interface OpenOptions {
  readonly clock: Clock;
  /** Deadline for the whole exchange. Default: 10 s. */
  readonly deadlineMs?: number;
  readonly signal?: AbortSignal | undefined;
  readonly readOnly?: boolean;
  /** When the daemon counts as dead. Default: libvirt's, 5 s and 5 pings; null: only the daemon's pings are answered. */
  readonly keepalive?: KeepaliveTimes | null;
}

export interface OpenConnection {
  readonly rpc: RpcConnection;
  /** Whether the daemon sends events by callback id; otherwise it supports only the older form. */
  readonly hasEventCallbacks: boolean;
  /** Sends CONNECT_CLOSE and closes, after a short wait for the answer. Never rejects. */
  close(): Promise<void>;
}

const defaultDeadlineMs = 10_000;
const goodbyeMs = 2_000;
export const defaultKeepalive: KeepaliveTimes = { intervalMs: 5_000, count: 5 };

/** @throws RpcConnectError naming the URI and the reason; its cause is a LibvirtError when the daemon refused. */
export async function openConnection(uri: string, options: OpenOptions): Promise<OpenConnection> {
  const { clock, deadlineMs = defaultDeadlineMs, signal, readOnly = false } = options;
  const { address, driverUri } = parseUri(uri, { readOnly, sessionDirectory: sessionDirectory() });
  const endMs = clock.now() + deadlineMs;
  const socket = await dial(address, { clock, deadlineMs, signal });
  const rpc = new RpcConnection(socket, clock);
  const limits = () => ({ deadlineMs: Math.max(1, endMs - clock.now()), signal });
  const supports = async (feature: number) => {
    const { supported } = await rpc.call(remote.procedures.connectSupportsFeature, { feature }, limits());
    return supported !== 0;
  };
  try {
    await authenticate(rpc, limits);
    const { keepalive = defaultKeepalive } = options;
    if ((await supports(features.programKeepalive)) && keepalive !== null) rpc.startKeepalive(keepalive);
    const flags = readOnly ? connectFlags.readOnly : 0;
    await rpc.call(remote.procedures.connectOpen, { name: driverUri, flags }, limits());
    const hasEventCallbacks = await supports(features.remoteEventCallback);
    const close = async () => {
      await rpc.call(remote.procedures.connectClose, undefined, { deadlineMs: goodbyeMs }).catch(() => {});
      rpc.close();
    };
    return { rpc, hasEventCallbacks, close };
  } catch (error) {
    rpc.close();
    throw new RpcConnectError(`cannot open ${uri}: ${messageOf(error)}`, { cause: error });
  }
}

/** polkit decides without input from this process; SASL would require a password from the operator. */
async function authenticate(
  rpc: RpcConnection,
  limits: () => { deadlineMs: number; signal: AbortSignal | undefined },
): Promise<void> {
  const { types } = await rpc.call(remote.procedures.authList, undefined, limits());
  if (types.includes(authTypes.none)) return;
  if (types.includes(authTypes.polkit)) {
    const { complete } = await rpc.call(remote.procedures.authPolkit, undefined, limits());
    if (complete === 0) throw new RpcConnectError("polkit denied access to this process");
  } else if (types.includes(authTypes.sasl)) {
    throw new RpcConnectError("the daemon requires SASL, which is not supported; use TLS or its unix socket");
  } else {
    throw new RpcConnectError(
      `the daemon offers no supported authentication (types: ${types.join(", ") || "none"})`,
    );
  }
}

/** Returns the directory of the sockets of the user's session daemon; root has none. */
function sessionDirectory(): string | undefined {
  const uid = process.getuid?.() ?? 0;
  return uid === 0 ? undefined : (process.env["XDG_RUNTIME_DIR"] ?? `/run/user/${uid}`);
}
