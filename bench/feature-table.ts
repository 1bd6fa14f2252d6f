// The features whose downtime is measured: the options of `migrate`, and the equivalent commands of the shortest script.

import { truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { dhParams } from "../src/drivers/qemu/migration/dh-params.js";
import type { MigrateOptions } from "../src/library/local/migrate.js";
import type { Migration } from "../src/library/migration-handle.js";
import { qemuPki } from "../test/support/qemu-pki.js";
import { ask, type Feature, told } from "./shortest.js";

export const diskMiB = 48;

export interface Measured {
  readonly what: string;
  readonly ours: Partial<MigrateOptions>;
  /** While the migration runs. */
  readonly during?: (migration: Migration) => Promise<void>;
  readonly script: Feature;
  /** The guest's disk is mirrored. */
  readonly copies?: true;
}

/** Slower than the guest writes: memory does not converge, and most of it is transferred in post-copy. */
const slowMiBps = 8;
const postcopyAfterMs = 300;
const hostname = "here.example";

const multifd = { capabilities: ["multifd"] };
const connections = { "multifd-channels": 2 };

/** Returns the features; `directory` holds files and sockets. */
export function featureTable(directory: string): readonly Measured[] {
  const credentials = qemuPki(directory, "bench", hostname);
  // Without this file the script's QEMU would generate the parameters.
  writeFileSync(join(credentials, "dh-params.pem"), dhParams);
  return [
    { what: "none", ours: {}, script: {} },
    {
      what: "two connections (multifd)",
      ours: { stream: { parallel: { connections: 2 } } },
      script: { ...multifd, parameters: connections },
    },
    {
      what: "two connections, zstd",
      ours: { stream: { parallel: { connections: 2 }, compression: { zstd: {} } } },
      script: { ...multifd, parameters: { ...connections, "multifd-compression": "zstd" } },
    },
    {
      what: "xbzrle",
      ours: { stream: { compression: { xbzrle: {} } } },
      script: { capabilities: ["xbzrle"] },
    },
    { what: "TLS", ours: { stream: { tls: { credentials, hostname } } }, script: overTls(credentials) },
    {
      what: "post-copy",
      ours: { stream: { postcopy: {} }, limits: { bandwidthMiBps: slowMiBps } },
      during: async (migration) => {
        for await (const { progress } of migration.progress) if (progress !== null) break;
        await sleep(postcopyAfterMs);
        const { applied, why } = await migration.startPostcopy();
        if (!applied) throw new Error(`post-copy was rejected: ${why}`);
      },
      script: {
        capabilities: ["postcopy-ram"],
        sourceParameters: { "max-bandwidth": slowMiBps * 2 ** 20 },
        postcopyAfterMs,
      },
    },
    { what: "disk mirror", ours: {}, script: copying(join(directory, "nbd.sock")), copies: true },
  ];
}

function overTls(dir: string): Feature {
  const credentials = { "qom-type": "tls-creds-x509", id: "tls", dir, "verify-peer": true };
  return {
    prepare: async (source, destination) => {
      await ask(source, "object-add", { ...credentials, endpoint: "client" });
      await ask(destination, "object-add", { ...credentials, endpoint: "server" });
    },
    parameters: { "tls-creds": "tls" },
    sourceParameters: { "tls-hostname": hostname },
  };
}

function copying(path: string): Feature {
  const device = "copy";
  return {
    capabilities: ["pause-before-switchover"],
    prepare: async (source, destination) => {
      await ask(destination, "nbd-server-start", { addr: { type: "unix", data: { path } } });
      const here = { id: "disk", "node-name": "proof-disk", name: "disk" };
      await ask(destination, "block-export-add", { ...here, type: "nbd", writable: true });
      const there = { driver: "nbd", server: { type: "unix", path }, export: "disk", discard: "unmap" };
      await ask(source, "blockdev-add", { ...there, "node-name": "target" });
      const ready = told(source, "BLOCK_JOB_READY");
      const mirror = { "job-id": device, device: "proof-disk", target: "target", sync: "full" };
      await ask(source, "blockdev-mirror", mirror);
      await ready;
    },
    atTheGate: async (source) => {
      const ended = told(source, "BLOCK_JOB_COMPLETED");
      await ask(source, "block-job-cancel", { device });
      await ended;
    },
    beforeCont: ["nbd-server-stop"],
  };
}

/** An empty raw image. */
export function makeImage(path: string, bytes: number): void {
  writeFileSync(path, "");
  truncateSync(path, bytes);
}
