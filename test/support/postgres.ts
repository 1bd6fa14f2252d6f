// A PostgreSQL for tests, on a unix socket in a directory that is removed with it. It does not run as root.

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, chownSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { patienceMs } from "../support/patience.js";

const programs = "/usr/lib/postgresql/15/bin";

export class Postgres {
  readonly #directory = mkdtempSync(join(tmpdir(), "pg-"));
  #server: ReturnType<typeof spawn> | undefined;

  get url(): string {
    return `postgresql://postgres@localhost/postgres?host=${encodeURIComponent(this.#directory)}`;
  }

  /** The user that it runs as: not root. */
  #identity() {
    if (process.getuid?.() !== 0) return {};
    const uid = Number(execFileSync("id", ["-u", "postgres"], { encoding: "utf8" }));
    return { uid, gid: Number(execFileSync("id", ["-g", "postgres"], { encoding: "utf8" })) };
  }

  async start(): Promise<void> {
    const identity = this.#identity();
    const data = join(this.#directory, "data");
    if (statSync(this.#directory).uid !== identity.uid && identity.uid !== undefined) {
      chownSync(this.#directory, identity.uid, identity.gid);
      // Its path leads through a directory of the tests.
      for (const path of [tmpdir(), this.#directory]) chmodSync(path, 0o711);
      execFileSync(join(programs, "initdb"), ["-D", data, "-A", "trust", "-U", "postgres"], {
        ...identity,
        stdio: "ignore",
        cwd: this.#directory,
      });
    }
    this.#server = spawn(
      join(programs, "postgres"),
      ["-D", data, "-k", this.#directory, "-c", "listen_addresses=", "-c", "fsync=on"],
      { ...identity, stdio: "ignore", cwd: this.#directory },
    );
    const endMs = Date.now() + patienceMs;
    for (;;) {
      const client = new pg.Client({ connectionString: this.url });
      try {
        await client.connect();
        await client.end();
        return;
      } catch (error) {
        if (Date.now() > endMs) throw error;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  }

  /** Kills it, as in a crash. */
  async kill(): Promise<void> {
    const server = this.#server;
    if (server === undefined || server.exitCode !== null || server.signalCode !== null) return;
    // Its children end with it.
    server.kill("SIGQUIT");
    await once(server, "close");
  }

  async remove(): Promise<void> {
    await this.kill();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
