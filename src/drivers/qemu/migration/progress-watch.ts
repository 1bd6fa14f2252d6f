// Polls a source's QEMU for the progress of its migration while there are observers.

import type { Clock } from "../../../effects/ports.js";
import type { DiskProgress, Progress } from "../../../protocol/convergence/limits.js";
import type { CommandReturn } from "../monitor/commands.js";
import type { QemuProcess } from "../process/process.js";
import type { Mirrors } from "../storage/mirrors.js";

const everyMs = 100;
const bytesPerMegabit = 125_000;

export class ProgressWatch {
  readonly #qemu: QemuProcess;
  readonly #mirrors: Mirrors;
  readonly #clock: Clock;
  readonly #tell: (progress: Progress) => void;
  readonly #isSending: () => boolean;
  #timer: unknown;

  constructor(
    qemu: QemuProcess,
    mirrors: Mirrors,
    options: {
      readonly clock: Clock;
      readonly tell: (progress: Progress) => void;
      /** Returns whether QEMU has started this migration; before, its figures are those of an earlier one. */
      readonly isSending: () => boolean;
    },
  ) {
    this.#qemu = qemu;
    this.#mirrors = mirrors;
    this.#clock = options.clock;
    this.#tell = options.tell;
    this.#isSending = options.isSending;
  }

  begin(): void {
    this.stop();
    const report = async () => {
      const progress = await this.#progress().catch(() => undefined);
      if (this.#timer === undefined) return;
      if (progress !== undefined) this.#tell(progress);
      this.#timer = this.#clock.setTimeout(report, everyMs);
    };
    this.#timer = this.#clock.setTimeout(report, everyMs / 10);
  }

  stop(): void {
    this.#clock.clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  async #progress(): Promise<Progress | undefined> {
    const info = this.#isSending() ? await this.#qemu.main.execute("query-migrate", {}) : {};
    const disks = await this.#mirrors.progress();
    return info.ram === undefined && disks === null ? undefined : progressOf(info, disks);
  }
}

/** Before QEMU sends memory, only the disks have progress. */
function progressOf(info: CommandReturn<"query-migrate">, disks: DiskProgress | null): Progress {
  const { ram } = info;
  return {
    transferredBytes: ram?.transferred ?? 0,
    remainingBytes: ram?.remaining ?? 0,
    totalBytes: ram?.total ?? 0,
    dirtyBytesPerSecond: ram === undefined ? 0 : ram["dirty-pages-rate"] * ram["page-size"],
    bandwidthBytesPerSecond: Math.round((ram?.mbps ?? 0) * bytesPerMegabit),
    pass: ram?.["dirty-sync-count"] ?? 0,
    expectedDowntimeMs: info["expected-downtime"] ?? null,
    elapsedMs: info["total-time"] ?? 0,
    disks,
  };
}
