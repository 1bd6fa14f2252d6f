// Real virsh with two switchoverds, and a guest that proves its continuity wherever virsh moves it.

import { type ChildProcess, execFile, spawn, spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { onTestFinished } from "vitest";
import type { ConfigInput } from "../../src/daemon/config.js";
import { freePort } from "./free-port.js";
import { type Cable, HostProcess, ProofDomain, type ProofDomainOptions, streams } from "./host-process.js";
import { until } from "./until.js";

export const hasVirsh = spawnSync("virsh", ["--version"]).status === 0;
if (!hasVirsh) console.warn("virsh is not tested: there is none here");

const run = promisify(execFile);

export interface VirshHost {
  readonly process: HostProcess;
  /** Addresses of the unix socket and of TCP. */
  readonly uri: string;
  readonly tcp: string;
  /** Returns virsh's output. @throws Error with virsh's error message. */
  virsh(...command: string[]): Promise<string>;
}

type EachHost = { readonly [side in "a" | "b"]?: Partial<ConfigInput> };

export class VirshLab {
  readonly guest: ProofDomain;
  readonly #hosts: { a: VirshHost; b: VirshHost };

  private constructor(a: VirshHost, b: VirshHost, wish: ProofDomainOptions) {
    this.guest = new ProofDomain(`guest-${randomUUID().slice(0, 8)}`, wish);
    this.#hosts = { a, b };
  }

  /** Ends with the test. With a cable each host is at one end of it, and virsh at neither. */
  static async begin(wish: ProofDomainOptions = {}, cable?: Cable, each: EachHost = {}): Promise<VirshLab> {
    if (cable !== undefined) onTestFinished(() => cable.remove());
    const [a, b] = await Promise.all([host("hosta", "a", cable, each.a), host("hostb", "b", cable, each.b)]);
    const lab = new VirshLab(a, b, wish);
    onTestFinished(() => lab.guest.remove());
    return lab;
  }

  get a(): VirshHost {
    return this.#hosts.a;
  }

  get b(): VirshHost {
    return this.#hosts.b;
  }

  /** Writes the guest's XML for that side into a file. */
  xmlFile(side: string, change: (xml: string) => string = (text) => text): string {
    const path = join(this.a.process.directory, `${side}-${randomUUID().slice(0, 8)}.xml`);
    writeFileSync(path, change(this.guest.xml(side)));
    return path;
  }

  /** Defines the guest at a, and waits until it counts there. */
  async boot(): Promise<void> {
    await this.a.virsh("define", this.xmlFile("a"));
    await this.a.virsh("start", this.guest.name);
    await this.guest.counts("a");
  }

  /** Migrates from a to b. */
  migrate(...options: string[]): Promise<string> {
    const { name } = this.guest;
    return this.a.virsh("migrate", name, this.b.uri, "--xml", this.xmlFile("b"), ...options);
  }

  /** The same, as a process that can be signalled; `ended` is its exit code, or the signal that killed it. */
  migrating(...options: string[]) {
    const words = [this.guest.name, this.b.uri, "--xml", this.xmlFile("b"), ...options];
    const child = spawn("virsh", ["-c", this.a.uri, "migrate", ...words], { stdio: "ignore" });
    const ended = once(child, "close").then(([code, signal]: unknown[]) => code ?? signal);
    return { signal: (signal: NodeJS.Signals) => child.kill(signal), ended };
  }

  /** Checks that one QEMU is left, which continued its count without a gap. */
  async countsAt(side: "a" | "b"): Promise<void> {
    await until(() => this.guest.pids().length === 1);
    await this.guest.counts(side);
    this.guest.check();
  }
}

async function host(
  name: string,
  side: "a" | "b",
  cable: Cable | undefined,
  own: Partial<ConfigInput> = {},
): Promise<VirshHost> {
  const port = await freePort();
  const address = cable?.addresses[side] ?? "127.0.0.1";
  const tcp = `qemu+tcp://${address}:${port}/system`;
  const more: Partial<ConfigInput> = {
    tcp: { host: address, port },
    uri: tcp,
    ...(cable && { migration: streams({ at: address, relay: true }) }),
    ...own,
  };
  const process = new HostProcess(name, more, cable?.namespace(side));
  onTestFinished(async () => {
    await process.remove();
    if (process.said !== "") throw new Error(`${name} logged: ${process.said}`);
  });
  await process.start();
  const { uri } = process;
  return {
    process,
    uri,
    tcp,
    virsh: async (...command) => (await run("virsh", ["-c", uri, ...command])).stdout.trim(),
  };
}

/** Runs `virsh event` for all events of a host until it is ended. */
export class Listening {
  readonly #child: ChildProcess;
  #heard = "";

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.stdout?.on("data", (text) => {
      this.#heard += text;
    });
  }

  /** Resolves when virsh receives events; `stir` makes the host emit one again and again until then. */
  static async at({ uri }: VirshHost, stir: () => Promise<unknown>): Promise<Listening> {
    const child = spawn("virsh", ["-c", uri, "event", "--all", "--loop"], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    const listening = new Listening(child);
    onTestFinished(() => listening.end());
    await until(async () => {
      await stir();
      return listening.#heard !== "";
    });
    return listening;
  }

  /** Returns the events of a domain in order, as virsh prints them. */
  of(name: string): string[] {
    const lines = this.#heard.matchAll(/^event '([\w-]+)' for domain '([^']*)':(.*)$/gm);
    return [...lines].filter(([, , of]) => of === name).map(([, event, , what = ""]) => `${event}${what}`);
  }

  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.kill("SIGTERM");
    await once(this.#child, "close");
  }
}

/** Returns the message of the rejection. @throws Error when the promise was not rejected. */
export const refusal = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    (value) => {
      throw new Error(`the request was not refused: ${value}`);
    },
    (error: unknown) => String(error),
  );

const silenceMs = 5_000;

/** The same for a migration; virsh 9.0 can wait for its own thread when a migration is refused at once, and is then run again. */
export async function migrationRefusal(uri: string, ...words: string[]): Promise<string> {
  for (;;) {
    try {
      await run("virsh", ["-c", uri, "migrate", ...words], { timeout: silenceMs, killSignal: "SIGKILL" });
    } catch (error) {
      if (!(error instanceof Error && "killed" in error && error.killed === true)) return String(error);
      continue;
    }
    throw new Error("the migration was not refused");
  }
}

export const virshHelp = async (command: string): Promise<string> =>
  (await run("virsh", ["help", command])).stdout;

/** Parses `label: value` lines. */
export const fieldsOf = (text: string): Record<string, string> =>
  Object.fromEntries(
    text
      .split("\n")
      .map((line) => /^([^:]+):\s*(.*?)\s*$/.exec(line))
      .flatMap((found) => (found === null ? [] : [[found[1] ?? "", found[2] ?? ""]])),
  );
