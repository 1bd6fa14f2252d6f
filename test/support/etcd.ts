// A real etcd for one test, on loopback, with its data below the test's directory.

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface Etcd {
  readonly endpoint: string;
  /** Suspends the process, which does not answer until it is continued. */
  pause(): void;
  goOn(): void;
  /** Counts the keys below a prefix. */
  keys(prefix: string): Promise<number>;
  end(): Promise<void>;
}

export async function startEtcd(): Promise<Etcd> {
  const directory = mkdtempSync(join(tmpdir(), "etcd-"));
  const [client, peer] = [await freePort(), await freePort()];
  const endpoint = `http://127.0.0.1:${client}`;
  const peerUrl = `http://127.0.0.1:${peer}`;
  const words = {
    "--data-dir": directory,
    "--listen-client-urls": endpoint,
    "--advertise-client-urls": endpoint,
    "--listen-peer-urls": peerUrl,
    "--initial-advertise-peer-urls": peerUrl,
    "--initial-cluster": `default=${peerUrl}`,
  };
  const child = spawn("etcd", Object.entries(words).flat(), { stdio: "ignore" });
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  await answers(endpoint, child);
  return {
    endpoint,
    pause: () => {
      child.kill("SIGSTOP");
      // On a busy machine one of its threads may still answer for a moment.
      for (const endMs = Date.now() + 2_000; !isStopped(child.pid ?? 0) && Date.now() < endMs; );
    },
    goOn: () => void child.kill("SIGCONT"),
    keys: async (prefix) => {
      const base64 = (text: string) => Buffer.from(text).toString("base64");
      const body = JSON.stringify({
        key: base64(prefix),
        range_end: base64(`${prefix}\xff`),
        count_only: true,
      });
      const answer = await fetch(`${endpoint}/v3/kv/range`, { method: "POST", body });
      return Number(((await answer.json()) as { count?: string }).count ?? 0);
    },
    end: async () => {
      child.kill("SIGKILL");
      await ended;
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

function isStopped(pid: number): boolean {
  const threads = readdirSync(`/proc/${pid}/task`);
  return threads.every((file) => {
    const stat = readFileSync(`/proc/${pid}/task/${file}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).startsWith("T");
  });
}

async function answers(endpoint: string, child: ChildProcess): Promise<void> {
  let error: Error | undefined;
  child.once("error", (reason) => {
    error = reason;
  });
  for (let tries = 0; tries < 200; tries += 1) {
    if (error !== undefined) throw error;
    const healthy = await fetch(`${endpoint}/health`).then(
      (response) => response.ok,
      () => false,
    );
    if (healthy) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error("etcd failed to start");
}

function freePort(): Promise<number> {
  const server = createServer();
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => (typeof address === "object" && address ? resolve(address.port) : reject()));
    });
  });
}
