// The limits of a daemon's clients: what the configuration allows, within what the system allows the process.

import { readFile } from "node:fs/promises";
import type { Served, Service } from "../drivers/libvirt/rpc/service.js";
import { own } from "../drivers/libvirt/rpc/switchover-program.js";
import type { DaemonConfig } from "./config.js";
import { libvirtError } from "./rpc/errors.js";

type Limits = DaemonConfig["limits"];

/** Returns how many files this process may have open; infinity where Linux sets no limit or does not report it. */
export async function openFilesLimit(): Promise<number> {
  const text = await readFile("/proc/self/limits", "utf8").catch(() => "");
  const soft = /^Max open files +(\d+)/m.exec(text)?.[1];
  return soft === undefined ? Number.POSITIVE_INFINITY : Number(soft);
}

/**
 * Leaves files for guests, journals and the local socket: clients may take half of those that the process may have open,
 * and connections that have not proved who they are an eighth.
 */
export function limitsWithin(limits: Limits, openFiles: number): Limits {
  return {
    ...limits,
    maxClients: Math.min(limits.maxClients, Math.max(1, Math.floor(openFiles / 2))),
    maxAnonymousClients: Math.min(limits.maxAnonymousClients, Math.max(1, Math.floor(openFiles / 8))),
  };
}

/** Questions of sources about a migration; each may write a decision to the disk. */
const { settle, concede, announcePostcopy, handOver, reconnect } = own.procedures;
const { settleAs, concedeAs, announceAs, handOverAs, reconnectAs } = own.procedures;
const questions: ReadonlySet<number> = new Set(
  [
    ...[settle, concede, announcePostcopy, handOver, reconnect],
    ...[settleAs, concedeAs, announceAs, handOverAs, reconnectAs],
  ].map(({ number }) => number),
);

/**
 * Answers at most so many questions of sources at once. One over the limit gets an error, which is no decision: the source
 * asks again.
 */
export function withPendingSettles(max: number, services: readonly Service[]): readonly Service[] {
  let pending = 0;
  const limited = ({ procedure, handle }: Served): Served => ({
    procedure,
    handle: async (...call) => {
      if (pending >= max)
        throw libvirtError(
          "OPERATION_FAILED",
          `${max} questions are being answered (limits.maxPendingSettles); ask again`,
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
