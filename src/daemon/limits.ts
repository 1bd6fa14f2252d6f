// The limits on a daemon's clients: those of the configuration, capped by the process's limit of open files.

import { readFile } from "node:fs/promises";
import type { Served, Service } from "../drivers/libvirt/rpc/service.js";
import { own } from "../drivers/libvirt/rpc/switchover-program.js";
import type { DaemonConfig } from "./config.js";
import { libvirtError } from "./rpc/errors.js";

type Limits = DaemonConfig["limits"];

/** Returns the process's limit of open files; infinity where Linux sets no limit or does not report it. */
export async function openFilesLimit(): Promise<number> {
  const text = await readFile("/proc/self/limits", "utf8").catch(() => "");
  const soft = /^Max open files +(\d+)/m.exec(text)?.[1];
  return soft === undefined ? Number.POSITIVE_INFINITY : Number(soft);
}

/**
 * Reserves open files for guests, journals and the local socket: clients may use half of the process's limit, and
 * connections that are not authenticated yet an eighth.
 */
export function limitsWithin(limits: Limits, openFiles: number): Limits {
  return {
    ...limits,
    maxClients: Math.min(limits.maxClients, Math.max(1, Math.floor(openFiles / 2))),
    maxAnonymousClients: Math.min(limits.maxAnonymousClients, Math.max(1, Math.floor(openFiles / 8))),
  };
}

// Requests of sources about a migration; each may write a decision to the disk.
const { settle, concede, announcePostcopy, handOver, reconnect } = own.procedures;
const { settleAs, concedeAs, announceAs, handOverAs, reconnectAs } = own.procedures;
const questions: ReadonlySet<number> = new Set(
  [
    ...[settle, concede, announcePostcopy, handOver, reconnect],
    ...[settleAs, concedeAs, announceAs, handOverAs, reconnectAs],
  ].map(({ number }) => number),
);

/**
 * Handles at most `max` requests of sources concurrently. A request over the limit gets an error, which is not a decision:
 * the source asks again.
 */
export function withPendingSettles(max: number, services: readonly Service[]): readonly Service[] {
  let pending = 0;
  const limited = ({ procedure, handle }: Served): Served => ({
    procedure,
    handle: async (...call) => {
      if (pending >= max)
        throw libvirtError(
          "OPERATION_FAILED",
          `${max} requests are already pending (limits.maxPendingSettles); retry later`,
        );
      pending += 1;
      try {
        return await handle(...call);
      } finally {
        pending -= 1;
      }
    },
  });
  return services.map((service) => {
    if (service.program !== own.number) return service;
    const served = [...service.served].map(
      ([number, row]) => [number, questions.has(number) ? limited(row) : row] as const,
    );
    return { ...service, served: new Map(served) };
  });
}
