// What a person has said on the command line, after commander has checked each word.

import type { Fence } from "../../effects/ports.js";
import type { WhenUnreachable } from "../../protocol/unreachable-policy.js";
import type { StreamFlags } from "./stream-options.js";

/** Exit code for words or numbers that cannot be used; nothing has been started then. */
export const badInputExitCode = 2;

interface FenceFlags {
  readonly etcd?: readonly string[];
}

/** Loaded only when it is wanted: it brings TLS and HTTP with it. */
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
  /** PostgreSQL's URL. */
  readonly engine?: string;
  readonly goOn?: string;
  readonly dryRun?: true;
  readonly perSource: number;
  readonly perDestination: number;
  readonly perLink: number;
  readonly total: number;
  readonly attempts: number;
  /** In seconds. */
  readonly deadline?: number;
  /** In MiB/s, of each migration; 0 for no limit. */
  readonly bandwidth: number;
  readonly json?: true;
}

export interface RecoverFlags extends FenceFlags {
  readonly story?: true;
  readonly json?: true;
}

/** In virsh's words, but for `timeoutAbort`. */
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
  /** The port, or any. */
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
