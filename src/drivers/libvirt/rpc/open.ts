// Opens a hypervisor at a daemon: the dialogue with which every client of libvirt begins, and the one with which it ends.

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
  /** For the whole opening. Default: 10 s. */
  readonly deadlineMs?: number;
  readonly signal?: AbortSignal | undefined;
  readonly readOnly?: boolean;
  /** When the daemon counts as dead. Default: libvirt's own, 5 s and 5 times; null: only its own pings are answered. */
  readonly keepalive?: KeepaliveTimes | null;
}

export interface OpenConnection {
  readonly rpc: RpcConnection;
  /** The daemon tells events by callback id; without it only the old form is left. */
  readonly hasEventCallbacks: boolean;
  /** Says goodbye and closes; a daemon that does not answer is not waited for long. Never rejects. */
  close(): Promise<void>;
}

const defaultDeadlineMs = 10_000;
const goodbyeMs = 2_000;
export const defaultKeepalive: KeepaliveTimes = { intervalMs: 5_000, count: 5 };

/** @throws RpcConnectError naming the URI and why; its cause is a LibvirtError when the daemon itself has refused. */
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

/** polkit lets a process in, or not, without a word from it; SASL would need a password from a person. */
async function authenticate(
  rpc: RpcConnection,
  limits: () => { deadlineMs: number; signal: AbortSignal | undefined },
): Promise<void> {
  const { types } = await rpc.call(remote.procedures.authList, undefined, limits());
  if (types.includes(authTypes.none)) return;
  if (types.includes(authTypes.polkit)) {
    const { complete } = await rpc.call(remote.procedures.authPolkit, undefined, limits());
    if (complete === 0) throw new RpcConnectError("polkit does not let this process in");
  } else if (types.includes(authTypes.sasl)) {
    throw new RpcConnectError("the daemon wants SASL, which is not supported; use TLS or its unix socket");
  } else {
    throw new RpcConnectError(`the daemon wants authentication of type ${types.join(", ") || "none at all"}`);
  }
}

/** A user's own session daemon has its socket there; root has none. */
function sessionDirectory(): string | undefined {
  const uid = process.getuid?.() ?? 0;
  return uid === 0 ? undefined : (process.env["XDG_RUNTIME_DIR"] ?? `/run/user/${uid}`);
}
