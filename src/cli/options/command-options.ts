// What a person has said on the command line, after commander has checked each word.

import type { Fence } from "../../effects/ports.js";
import type { WhenUnreachable } from "../../protocol/unreachable-policy.js";
import type { StreamWords } from "./stream-options.js";

/** Exit code for words or numbers that cannot be used; nothing has been started then. */
export const badInputExitCode = 2;

interface FenceWords {
  readonly etcd?: readonly string[];
}

/** Loaded only when it is wanted: it brings TLS and HTTP with it. */
export const fenceOf = async ({ etcd = [] }: FenceWords): Promise<Fence | undefined> => {
  const [first, ...others] = etcd;
  if (first === undefined) return undefined;
  const { etcdFence } = await import("../../drivers/fencing/etcd.js");
  return etcdFence({ endpoints: [first, ...others] });
};

export interface CheckWords {
  readonly from: string;
  readonly to: string;
  readonly domain: string;
  readonly xml?: string;
  readonly json?: true;
}

export interface InspectWords {
  readonly host: string;
  readonly port: number;
  readonly socket?: string;
  readonly watch?: readonly string[];
  readonly save?: string;
}

export interface DrainWords extends StreamWords {
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
  readonly copyStorageAll?: true;
  readonly copyStorageInc?: true;
  readonly unsafe?: true;
  readonly json?: true;
}

export interface RecoverWords extends FenceWords {
  readonly story?: true;
  readonly json?: true;
}

/** In virsh's words, but for `timeoutAbort`. */
export interface ConvergenceWords {
  /** In seconds. */
  readonly timeout?: number;
  readonly timeoutSuspend?: true;
  readonly timeoutPostcopy?: true;
  readonly timeoutAbort?: true;
  readonly postcopyAfterPrecopy?: true;
}

export interface MigrateWords extends FenceWords, StreamWords, ConvergenceWords {
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
  readonly p2p?: true;
  readonly tunnelled?: true;
  readonly offline?: true;
  readonly copyStorageAll?: true;
  readonly copyStorageInc?: true;
  readonly copyStorageSynchronousWrites?: true;
  readonly migrateDisks?: readonly string[];
  readonly disksPort?: number;
  readonly disksUri?: string;
  readonly unsafe?: true;
  readonly abortOnError?: true;
  readonly persistent?: true;
  readonly persistentXml?: string;
  readonly listenAddress?: string;
  readonly undefineSource?: true;
  readonly suspend?: true;
  readonly migrateUri?: string;
  readonly destinationName?: string;
  readonly xml?: string;
  readonly whenUnreachable: WhenUnreachable;
  readonly patience: number;
  readonly journal?: string;
  readonly story?: true;
  readonly json?: true;
}
