// The parsed command line options, after commander has checked each value.

import type { Fence } from "../../effects/ports.js";
import type { WhenUnreachable } from "../../protocol/unreachable-policy.js";
import type { StreamFlags } from "./stream-options.js";

/** Exit code for invalid options or values; nothing has been started. */
export const badInputExitCode = 2;

interface FenceFlags {
  readonly etcd?: readonly string[];
}

/** Loads the fence on demand, because it pulls in TLS and HTTP. */
export const fenceOf = async ({ etcd = [] }: FenceFlags): Promise<Fence | undefined> => {
  const [first, ...others] = etcd;
  if (first === undefined) return undefined;
  const { etcdFence } = await import("../../drivers/fencing/etcd.js");
  return etcdFence({ endpoints: [first, ...others] });
};

export interface CheckFlags {
  readonly from: string;
  readonly to: string;
  readonly domain: string;
  readonly xml?: string;
  readonly json?: true;
}

export interface InspectFlags {
  readonly host: string;
  readonly port: number;
  readonly socket?: string;
  readonly watch?: readonly string[];
  readonly save?: string;
}

export interface DrainFlags extends StreamFlags {
  readonly fleet: string;
  readonly log: string;
  /** The URL of a PostgreSQL database. */
  readonly engine?: string;
  readonly resume?: string;
  readonly dryRun?: true;
  readonly perSource: number;
  readonly perDestination: number;
  readonly perLink: number;
  readonly total: number;
  readonly attempts: number;
  /** In seconds. */
  readonly deadline?: number;
  /** In MiB/s per migration; 0 for no limit. */
  readonly bandwidth: number;
  readonly json?: true;
}

export interface RecoverFlags extends FenceFlags {
  readonly story?: true;
  readonly json?: true;
}

/** Named as in virsh, except `timeoutAbort`, which virsh does not have. */
export interface ConvergenceFlags {
  /** In seconds. */
  readonly timeout?: number;
  readonly timeoutSuspend?: true;
  readonly timeoutPostcopy?: true;
  readonly timeoutAbort?: true;
  readonly postcopyAfterPrecopy?: true;
}

export interface MigrateFlags extends FenceFlags, StreamFlags, ConvergenceFlags {
  readonly forecast?: true;
  /** The port, or `true` for any free one. */
  readonly inspect?: number | true;
  readonly saveStory?: string;
  readonly name: string;
  readonly binary: string;
  readonly memory: number;
  readonly workingSet: number;
  readonly dirtyRate: number;
  readonly bandwidth: number;
  readonly maxDowntime: number;
  readonly stall: number;
  readonly transport: "unix" | "tcp";
  readonly from?: string;
  readonly to?: string;
  readonly domain?: string;
  readonly whenUnreachable: WhenUnreachable;
  readonly patience: number;
  readonly journal?: string;
  readonly story?: true;
  readonly json?: true;
}
