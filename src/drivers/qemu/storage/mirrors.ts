// Disk mirrors on the source's QEMU, into the destination's NBD exports. They are found again by their names. Upholds
// G4: a mirror counts as complete only when QEMU has reported so at its end; G6: nothing of it remains.

import type { Clock, SourceFact } from "../../../effects/ports.js";
import { sleep } from "../../../effects/sleep.js";
import type { MirrorInput } from "../../../machines/source/machine.js";
import type { DiskProgress, Limits } from "../../../protocol/convergence/limits.js";
import { type Answer, cause, failed, nothing, unknown } from "../../../protocol/effect-result.js";
import type { CopiedDisk } from "../../../protocol/messages.js";
import { hostName, hostOf } from "../../../protocol/peer-text.js";
import type { TlsOptions } from "../../../protocol/stream.js";
import { addTlsCredentials, credentialsOf, removeTlsCredentials } from "../migration/tls.js";
import type { MonitorEvent } from "../monitor/commands.js";
import { QmpCommandError } from "../monitor/errors.js";
import type { QemuProcess } from "../process/process.js";
import { blockDevices, exportName, nbdAddress } from "./block-devices.js";

const prefix = "switchover-copy-";
/** The mirrors have their own credentials, since they start before the memory stream and end without it. */
const copiesTlsId = "switchover-copies-tls";
const goneCheckMs = 20;
/** Time that a mirror has to end by itself before its connection is broken. */
const patienceMs = 1_000;

export interface CopyOptions {
  /** `top`: the backing files are shared, and only the layers above them are mirrored. */
  readonly sync: "full" | "top";
  /**
   * A guest write completes only when it is mirrored: the mirror converges whatever the guest writes, and slows it
   * down.
   */
  readonly synchronousWrites: boolean;
}

export interface MirrorsOptions extends CopyOptions {
  readonly clock: Clock;
  readonly tell: (fact: SourceFact) => void;
  /** The same as for the memory stream. */
  readonly tls?: TlsOptions | undefined;
}

export class Mirrors {
  readonly #qemu: QemuProcess;
  readonly #clock: Clock;
  readonly #options: CopyOptions;
  readonly #tell: (fact: SourceFact) => void;
  readonly #tls: TlsOptions | undefined;
  /** The disk's name for each job. */
  readonly #disks = new Map<string, string>();
  readonly #ready = new Set<string>();
  /** Results of the mirrors that have ended, once they are being completed; null means success. */
  #ended: Map<string, string | null> | undefined;
  #changed = () => {};

  constructor(qemu: QemuProcess, { clock, tell, tls, ...options }: MirrorsOptions) {
    this.#tls = tls;
    this.#qemu = qemu;
    this.#clock = clock;
    this.#options = options;
    this.#tell = tell;
  }

  /** Sets the mirrors that must exist after a crash of this process. A missing one is found at completion. */
  expect(disks: readonly CopiedDisk[]): void {
    for (const [index, { name }] of disks.entries()) this.#disks.set(`${prefix}${index}`, name);
  }

  /** Keeps mirrors that are already running. */
  async begin({ disks, prepared, limits }: MirrorInput): Promise<Answer<null>> {
    if (prepared.storage === undefined) return failed("the destination does not export its disks");
    const { main } = this.#qemu;
    this.expect(disks);
    const devices = new Map((await blockDevices(main)).map((blockDevice) => [blockDevice.name, blockDevice]));
    const jobs = new Map((await this.#jobs()).map((job) => [job.device, job]));
    // Running mirrors hold their own credentials.
    if (this.#tls !== undefined && jobs.size === 0)
      await addTlsCredentials(main, copiesTlsId, credentialsOf(this.#tls, "client"), null);
    const server = nbdAddress(prepared.storage);
    const tls = this.#tls && {
      "tls-creds": copiesTlsId,
      // QEMU's default is the host of the NBD address; a unix socket has none, and is on the host of the memory
      // stream.
      "tls-hostname":
        this.#tls.hostname !== undefined
          ? hostName(this.#tls.hostname)
          : server.type === "unix"
            ? (prepared.host ?? hostOf(prepared.uri))
            : undefined,
    };
    for (const [job, disk] of this.#disks) {
      const device = devices.get(disk);
      if (device === undefined) return failed(`the guest's disk "${disk}" no longer exists`);
      if (jobs.has(job)) {
        if (jobs.get(job)?.ready) this.#ready.add(job);
        continue;
      }
      await this.#deleteNode(job);
      await main.execute("blockdev-add", {
        driver: "nbd",
        "node-name": job,
        server,
        export: exportName(disk),
        discard: "unmap",
        ...tls,
      });
      await main.execute("blockdev-mirror", {
        "job-id": job,
        device: device.node,
        target: job,
        sync: this.#options.sync,
        "copy-mode": this.#options.synchronousWrites ? "write-blocking" : "background",
        speed: speedOf(limits),
      });
    }
    this.#sayWhenReady();
    return nothing;
  }

  async setLimits(limits: Limits): Promise<void> {
    if (this.#disks.size === 0) return;
    for (const { device } of await this.#jobs())
      await this.#qemu.main.execute("block-job-set-speed", { device, speed: speedOf(limits) });
  }

  /** Called with the guest stopped: done when each mirror is in sync and has been completed. */
  async end(signal: AbortSignal): Promise<Answer<null>> {
    const { main } = this.#qemu;
    this.#ended = new Map();
    // All are sent at once, without queries before: they are part of the downtime.
    const cancels = [...this.#disks].map(async ([device, disk]) => {
      const asked = main.execute("block-job-cancel", { device, force: false });
      return { disk, refused: await refusalOf(asked) };
    });
    for (const { disk, refused } of await Promise.all(cancels))
      if (refused !== undefined)
        return failed(`the mirror of disk "${disk}" has ended: it is unknown whether it is complete`, [
          refused,
        ]);
    while (this.#ended.size < this.#disks.size) {
      if (signal.aborted) return unknown("QEMU has not reported that the disk mirrors are in sync");
      await this.#change(signal);
    }
    const broken = [...this.#ended].find(([, why]) => why !== null);
    return broken === undefined
      ? nothing
      : failed(`the mirror of disk "${this.#disks.get(broken[0])}" failed`, [String(broken[1])]);
  }

  /** Done when no mirror is left, nor its connection or credentials. */
  async drop(signal: AbortSignal): Promise<Answer<null>> {
    const { main, rescue } = this.#qemu;
    this.#ended ??= new Map();
    for (const { device } of await this.#jobs())
      await unlessGone(main.execute("block-job-cancel", { device, force: true }));
    const endMs = this.#clock.now() + patienceMs;
    while ((await this.#jobs()).length > 0) {
      if (signal.aborted) return unknown("a disk mirror does not end");
      // A mirror waits for a peer that does not answer.
      if (this.#clock.now() > endMs) await yankCopies(rescue);
      await sleep(this.#clock, goneCheckMs);
    }
    const nodes = await main.execute("query-named-block-nodes", { flat: true });
    for (const { "node-name": node } of nodes) if (node?.startsWith(prefix)) await this.#deleteNode(node);
    if (this.#tls !== undefined) await removeTlsCredentials(main, copiesTlsId);
    return nothing;
  }

  /** Null when no disk is copied. */
  async progress(): Promise<DiskProgress | null> {
    if (this.#disks.size === 0) return null;
    const jobs = await this.#jobs();
    const sum = (of: "len" | "offset") => jobs.reduce((bytes, job) => bytes + job[of], 0);
    return { copiedBytes: sum("offset"), totalBytes: sum("len") };
  }

  hear(event: MonitorEvent): void {
    if (event.name === "BLOCK_JOB_READY" && this.#disks.has(event.data.device)) {
      this.#ready.add(event.data.device);
      this.#sayWhenReady();
    }
    if (event.name === "BLOCK_JOB_CANCELLED") this.#hearEnd(event.data.device, "it was cancelled");
    if (event.name === "BLOCK_JOB_COMPLETED") this.#hearEnd(event.data.device, event.data.error ?? null);
  }

  #hearEnd(job: string, why: string | null): void {
    const disk = this.#disks.get(job);
    if (disk === undefined) return;
    if (this.#ended !== undefined) {
      this.#ended.set(job, why);
      this.#changed();
    } else {
      const words = why === null ? [] : [why];
      this.#tell({ type: "monitor.mirrorFailed", cause: cause(`the mirror of disk "${disk}" ended`, words) });
    }
  }

  #sayWhenReady(): void {
    if (this.#ready.size === this.#disks.size) this.#tell({ type: "monitor.mirrored" });
  }

  async #jobs() {
    const jobs = await this.#qemu.main.execute("query-block-jobs", {});
    return jobs.filter((job) => job.device.startsWith(prefix));
  }

  #deleteNode(node: string): Promise<void> {
    return unlessGone(this.#qemu.main.execute("blockdev-del", { "node-name": node }));
  }

  #change(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      this.#changed = resolve;
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
  }
}

/** Breaks the connections of QEMU's disk mirrors out of band. */
async function yankCopies(rescue: QemuProcess["rescue"]): Promise<void> {
  const all = await rescue.execute("query-yank", {}, { oob: true });
  const instances = all.filter((instance) => instance["node-name"]?.startsWith(prefix));
  if (instances.length > 0) await rescue.execute("yank", { instances }, { oob: true });
}

/** Ignores an object that QEMU has already removed. */
const unlessGone = async (command: Promise<unknown>): Promise<void> => void (await refusalOf(command));

/** Returns QEMU's error message when it rejects the command. */
async function refusalOf(command: Promise<unknown>): Promise<string | undefined> {
  try {
    await command;
    return undefined;
  } catch (error) {
    if (error instanceof QmpCommandError) return error.description;
    throw error;
  }
}

/** In bytes per second; QEMU's 0 means no limit, as ours does. */
const speedOf = ({ diskBandwidthMiBps }: Limits): number => Math.round(diskBandwidthMiBps * 2 ** 20);
