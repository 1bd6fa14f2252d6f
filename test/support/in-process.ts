// One host's daemon in the test's own process, over state that the test has written; and stand-ins for QEMUs that live and do
// not answer.

import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdirSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { completeConfig } from "../../src/daemon/config.js";
import { type Daemon, startDaemon } from "../../src/daemon/daemon.js";
import { type DomainRecords, openDomainRecords, type Presence } from "../../src/daemon/domains/records.js";
import { openFileJournal } from "../../src/drivers/journal/file-journal.js";
import type { FileJournal } from "../../src/drivers/journal/types.js";
import { openConnection } from "../../src/drivers/libvirt/rpc/open.js";
import { own } from "../../src/drivers/libvirt/rpc/switchover-program.js";
import { systemClock } from "../../src/drivers/platform/clock.js";
import { identityOf } from "../../src/drivers/qemu/process/process.js";
import type { QemuHandle } from "../../src/drivers/qemu/process/spec.js";
import { fakeQemu } from "./fake-qemu.js";
import { rawServer, temporaryDirectory } from "./rpc-pair.js";

export const webUuid = randomUUID();
export const web = { uuid: webUuid, name: "web-1" };
export const webXml = xmlOf(web);
export const webDom = { ...web, id: -1 };

export function xmlOf({ name, uuid }: { readonly name: string; readonly uuid: string }): string {
  return `<domain type='qemu'><name>${name}</name><uuid>${uuid}</uuid><memory unit='KiB'>65536</memory><vcpu>1</vcpu><os><type arch='x86_64' machine='pc'>hvm</type></os><devices><controller type='usb' model='none'/><memballoon model='none'/></devices></domain>`;
}

/** Short enough for a test that waits until a query was sent several times. */
const deadlines = { backoffMs: 20, maxBackoffMs: 200 };

export class HostInProcess {
  readonly name: string;
  readonly directory = temporaryDirectory();
  readonly stateDirectory = join(this.directory, "state");
  readonly uri = `qemu+unix:///system?socket=${join(this.directory, "sock")}`;
  readonly said: string[] = [];
  readonly #hostUuid = randomUUID();
  #daemon: Daemon | null = null;

  constructor(name = "hosta") {
    this.name = name;
    onTestFinished(() => this.stop());
  }

  async start(): Promise<void> {
    const config = await completeConfig({
      hostname: this.name,
      hostUuid: this.#hostUuid,
      stateDirectory: this.stateDirectory,
      runDirectory: join(this.directory, "run"),
      socket: { path: join(this.directory, "sock") },
      uri: this.uri,
      unixDirectories: [`${tmpdir()}/**`],
      migration: { listen: "127.0.0.1", host: "127.0.0.1" },
      deadlines,
    });
    this.#daemon = await startDaemon(config, { warn: (sentence) => this.said.push(sentence) });
  }

  async stop(): Promise<void> {
    await this.#daemon?.stop({ deadlineMs: 0 });
    this.#daemon = null;
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  /** Opens a connection to the daemon. */
  async rpc() {
    const connection = await openConnection(this.uri, { clock: systemClock });
    onTestFinished(() => connection.close());
    return connection.rpc;
  }

  /** Returns the reason for the guest's quarantine as an operator sees it; undefined when it is not quarantined. */
  async quarantine(): Promise<string | undefined> {
    const { domains } = await (await this.rpc()).call(own.procedures.standing, null);
    const shown: readonly { uuid: string; quarantined: string | null }[] = JSON.parse(domains);
    return shown.find(({ uuid }) => uuid === webUuid)?.quarantined ?? undefined;
  }

  /** Returns the records on disk, while the daemon is not running. */
  records = (): Promise<DomainRecords> => openDomainRecords(this.stateDirectory);

  /** Returns the journal, while the daemon is not running. */
  async inJournal<T>(use: (journal: FileJournal) => T | Promise<T>): Promise<T> {
    mkdirSync(this.stateDirectory, { recursive: true });
    const journal = await openFileJournal(join(this.stateDirectory, "journal"));
    try {
      return await use(journal);
    } finally {
      await journal.close();
    }
  }

  /** Records that the guest is on this host, in its own journal unless another one is given. */
  async record(presence: Partial<Presence>): Promise<void> {
    const journal = await this.inJournal(({ identity }) => identity);
    const { presences } = await this.records();
    const nothing = { incoming: null, handle: null, directory: null };
    await presences.write(webUuid, JSON.stringify({ ...nothing, journal, xml: webXml, ...presence }));
  }
}

export interface LateQemu {
  readonly handle: QemuHandle;
  /** Resolves when the next client tries to connect. */
  reached(): Promise<void>;
  /** Makes its monitors answer from now on: the guest runs. */
  answer(): Promise<void>;
}

/**
 * Starts a process whose monitors close each connection until it is told to answer. Created before the host that finds it,
 * so that it ends after the host.
 */
export async function lateQemu(): Promise<LateQemu> {
  const child = spawn("sleep", ["600"], { stdio: "ignore" });
  onTestFinished(() => void child.kill("SIGKILL"));
  let noteReached = () => {};
  const mute = await rawServer((socket) => {
    noteReached();
    socket.destroy();
  });
  const path = join(temporaryDirectory(), "monitor");
  symlinkSync(mute, path);
  return {
    handle: { ...identityOf(child.pid ?? 0), monitors: { main: path, rescue: path }, directory: null },
    reached: () =>
      new Promise((resolve) => {
        noteReached = resolve;
      }),
    answer: async () => {
      const status = { status: "running", running: true };
      const qemu = await fakeQemu(({ execute, id }) => ({
        return: execute === "query-status" ? status : {},
        id,
      }));
      onTestFinished(() => qemu.close());
      rmSync(path);
      symlinkSync(qemu.path, path);
    },
  };
}

export const muteQemu = async (): Promise<QemuHandle> => (await lateQemu()).handle;

/** Returns the handle of a process that has ended. */
export function goneQemu(): QemuHandle {
  return { pid: 2 ** 22 + 1, startTicks: 1, monitors: { main: "/gone", rescue: "/gone" }, directory: null };
}
