// Output for operators (progress bar on stderr, sentences on stdout) or for programs (--json: one object per line).

import { SingleBar } from "cli-progress";
import { isRecord, type Observe } from "../effects/trace.js";
import type { MigrationSnapshot, Outcome } from "../library/migration-handle.js";
import type { ContinuityReport } from "../proof-guest/continuity.js";
import { describeForecast } from "../protocol/convergence/forecast.js";
import type { Progress } from "../protocol/convergence/limits.js";
import { printable } from "../protocol/printable.js";
import { tell } from "./format-record.js";
import { say, sayJson, warn } from "./print.js";

export interface Screen {
  say(sentence: string): void;
  warn(sentence: string): void;
  /** Undefined when no records are shown. */
  readonly observe: Observe | undefined;
  progress(snapshot: Pick<MigrationSnapshot, "source" | "destination" | "progress" | "forecast">): void;
  endProgress(): void;
  outcome(outcome: Outcome): void;
  proof(report: ContinuityReport): void;
}

export function createScreen({ json, story }: { json?: true; story?: true }): Screen {
  return json === true ? jsonScreen() : personScreen(story === true);
}

const mebibytes = (bytes: number) => (bytes / 2 ** 20).toFixed(1);

function personScreen(story: boolean): Screen {
  const bar = new SingleBar({
    format: "{phase} [{bar}] {disks}{sent} MiB sent, {rest} MiB remaining  dirty {dirty} MiB/s  {forecast}",
    stream: process.stderr,
    hideCursor: true,
    clearOnComplete: true,
    gracefulExit: false,
  });
  let shown = false;
  let firstMs: number | undefined;
  return {
    say,
    warn,
    observe: !story
      ? undefined
      : (record) => {
          if (!isRecord(record)) return;
          firstMs ??= record.atMs;
          for (const line of tell(record, firstMs)) say(line);
        },
    progress: ({ source, progress, forecast }) => {
      if (story || !process.stderr.isTTY || progress === null) return;
      const done = Math.max(0, progress.totalBytes - progress.remainingBytes);
      const shownNow = {
        phase: printable(source.replace(/[(.].*/, "")),
        disks: disksOf(progress),
        sent: mebibytes(progress.transferredBytes),
        rest: mebibytes(progress.remainingBytes),
        dirty: mebibytes(progress.dirtyBytesPerSecond),
        forecast: printable(describeForecast(forecast)),
      };
      if (!shown) bar.start(progress.totalBytes, done, shownNow);
      else bar.update(done, shownNow);
      shown = true;
    },
    endProgress: () => bar.stop(),
    outcome: () => {},
    proof: () => {},
  };
}

const disksOf = ({ disks }: Progress): string =>
  disks === null
    ? ""
    : `disks ${mebibytes(disks.copiedBytes)} of ${mebibytes(disks.totalBytes)} MiB, memory `;

function jsonScreen(): Screen {
  return {
    say: () => {},
    warn,
    observe: (seen) => {
      if (isRecord(seen)) sayJson({ type: "record", ...seen });
    },
    progress: ({ progress, source, destination, forecast }) =>
      sayJson({ type: "progress", source, destination, progress, forecast }),
    endProgress: () => {},
    outcome: ({ kind, runs, guest, error, downtimeMs, qemuTotalMs, dropped }) =>
      sayJson({
        type: "outcome",
        kind,
        runs,
        pid: guest?.process.pid ?? null,
        downtimeMs,
        qemuTotalMs,
        dropped,
        failures: error?.failures ?? [],
        undone: error?.undone ?? [],
        next: error?.next ?? null,
      }),
    proof: (report) => sayJson({ type: "proof", ...report }),
  };
}
