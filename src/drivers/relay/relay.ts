// Starts and stops relays between a QEMU that sends its memory by TCP and the destination (see relay-process.ts). QEMU's own
// TCP connection makes the downtime up to 40 ms longer (docs/decisions/0012).

import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir, rm } from "node:fs/promises";
import { extname, join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import type { Clock } from "../../effects/ports.js";
import { resolvesWithin } from "../../effects/within.js";
import { anywhere, partsOf, type StreamAddress, socketPath, unixAddress } from "../../protocol/peer-text.js";
import { killByArgument } from "../platform/procfs.js";

const lastWordsMs = 100;
const program = fileURLToPath(new URL(`./relay-process${extname(import.meta.url)}`, import.meta.url));

export class Relay {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #ready: Promise<void>;
  readonly #path: string;
  readonly #clock: Clock;
  #said = "";

  /** Starts a relay in a directory of its own; `endRelay` ends the process and removes the directory. */
  static async start(directory: string, clock: Clock): Promise<Relay> {
    await mkdir(directory, { mode: 0o700 });
    return new Relay(directory, clock);
  }

  private constructor(directory: string, clock: Clock) {
    this.#clock = clock;
    this.#path = join(directory, "relay.sock");
    const words = [...process.execArgv, program, this.#path];
    this.#child = spawn(process.execPath, words, { detached: true, stdio: ["pipe", "pipe", "ignore"] });
    this.#child.unref();
    this.#child.stdin.on("error", () => {});
    this.#child.stdout.setEncoding("utf8").on("data", (text: string) => {
      this.#said += text;
    });
    this.#ready = Promise.race([
      once(this.#child.stdout, "data").then(() => {}),
      once(this.#child, "exit").then(() => {
        throw new Error("the relay process exited before it was ready");
      }),
    ]);
    this.#ready.catch(() => {});
  }

  /** Returns the relay's error; empty when the relay did not cause the failure of the stream. */
  async why(): Promise<string> {
    // The relay exits after reporting its error; QEMU may have reported the broken stream earlier.
    await resolvesWithin(this.#clock, lastWordsMs, once(this.#child.stdout, "close"));
    return this.#said.replace("ready", "").trim();
  }

  /** Returns the address for QEMU; `address` itself for a unix socket. @throws Error when the relay does not run. */
  async to(address: StreamAddress): Promise<StreamAddress> {
    const parts = partsOf(address);
    if (parts.type === "unix") return address;
    await this.#ready;
    this.#child.stdin.end(`${parts.host} ${parts.port}`);
    return unixAddress(socketPath(this.#path, anywhere));
  }
}

const prefix = "relay-";
export const relayDirectory = (runDirectory: string, migrationId: string): string =>
  join(runDirectory, `${prefix}${migrationId}`);

/** Ends a relay, which a daemon that has died may have started; has no effect when there is none. */
export async function endRelay(directory: string): Promise<void> {
  killByArgument(`${directory}/`);
  await rm(directory, { recursive: true, force: true });
}

/** Ends the relays of migrations that are not under way. */
export async function endOtherRelays(runDirectory: string, underWay: ReadonlySet<string>): Promise<void> {
  for (const name of await readdir(runDirectory))
    if (name.startsWith(prefix) && !underWay.has(name.slice(prefix.length)))
      await endRelay(join(runDirectory, name));
}
