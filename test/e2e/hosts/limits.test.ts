// Tests the limits that a daemon's configuration sets, and the values that it accepts.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { completeConfig } from "../../../src/daemon/config.js";
import { limitsWithin, withPendingSettles } from "../../../src/daemon/limits.js";
import { openConnection } from "../../../src/drivers/libvirt/rpc/open.js";
import { remote } from "../../../src/drivers/libvirt/rpc/procedures.js";
import { serve } from "../../../src/drivers/libvirt/rpc/service.js";
import { own } from "../../../src/drivers/libvirt/rpc/switchover-program.js";
import { systemClock } from "../../../src/drivers/platform/clock.js";
import { freePort } from "../../support/free-port.js";
import { patienceMs } from "../../support/patience.js";
import { Authority, hasOpenssl } from "../../support/pki.js";
import { programArguments } from "../../support/programs.js";
import { gate, pair, temporaryDirectory } from "../../support/rpc-pair.js";
import { until } from "../../support/until.js";

const hostUuid = "6d0d7d25-3a0c-4a8e-9d0a-0f0a3c1b2e4d";

describe("a configuration", () => {
  test.each([
    [{ limit: { maxClients: 3 } }, "limit: unknown key"],
    [{ limits: { maxClient: 3 } }, "limits.maxClient: unknown key"],
    [{ tls: { allowedDns: ["*"], prot: 1 } }, "tls.prot: unknown key"],
    [{ "a\nb": 1 }, '"a\\nb": unknown key'],
    [{ deadlines: { prepare: 1 } }, "deadlines.prepare: unknown key"],
    [{ limits: { maxClients: "5" } }, "limits.maxClients: Invalid input: expected number, received string"],
    [{ limits: { maxClients: 0 } }, "limits.maxClients: Too small: expected number to be >=1"],
    [
      { policy: { whenUnreachable: "give up" } },
      'policy.whenUnreachable: Invalid option: expected one of "wait"|"fence"|"resume"',
    ],
    [{ http: { host: 3 } }, "http.host: Invalid input: expected string, received number"],
    [[], "top level: Invalid input: expected object, received array"],
  ])("of %j is refused: %s", async (given, line) => {
    await expect(completeConfig(given, "switchoverd.json")).rejects.toThrow(
      expect.objectContaining({ message: `switchoverd.json:\n${line}` }),
    );
  });

  test("without limits uses libvirtd's or stricter ones, and each can be set alone", async () => {
    const { limits } = await completeConfig({ hostUuid });
    expect(limits).toEqual({
      maxClients: 5_000,
      maxAnonymousClients: 100,
      handshakeMs: 10_000,
      maxClientRequests: 5,
      maxQueuedMessages: 10_000,
      maxPendingSettles: 1_000,
    });
    const one = await completeConfig({ hostUuid, limits: { maxClients: 7 } });
    expect(one.limits).toEqual({ ...limits, maxClients: 7 });
  });

  test("does not let clients use all file descriptors of the process", async () => {
    const { limits } = await completeConfig({ hostUuid });
    expect(limitsWithin(limits, 200)).toEqual({ ...limits, maxClients: 100, maxAnonymousClients: 25 });
    expect(limitsWithin(limits, Number.POSITIVE_INFINITY)).toEqual(limits);
  });
});

test("settle queries over the limit get an error that is not a decision, and are answered on retry", async () => {
  const { opened, open } = gate();
  let asked = 0;
  const settle = async () => {
    asked += 1;
    await opened;
    return { decision: 2 };
  };
  const services = [serve(own, { settle, concede: settle, facts: () => ({ facts: "{}" }) })];
  const { connect: connected } = await pair({ services: withPendingSettles(2, services) });
  const rpc = await connected();
  const migration = { migrationId: "0f3f-a1", uuid: hostUuid, name: "web-1" };
  const first = [rpc.call(own.procedures.settle, migration), rpc.call(own.procedures.concede, migration)];
  await until(() => asked === 2);
  const other = await connected();
  await expect(other.call(own.procedures.settle, migration)).rejects.toThrow(
    "2 requests are already pending (limits.maxPendingSettles); retry later",
  );
  expect(await other.call(own.procedures.facts, { binary: "", paths: [] })).toEqual({ facts: "{}" });
  open();
  expect(await Promise.all(first)).toEqual([{ decision: 2 }, { decision: 2 }]);
  expect(await other.call(own.procedures.settle, migration)).toEqual({ decision: 2 });
});

test.skipIf(!hasOpenssl)(
  "with 200 open files, 300 unfinished TLS connections do not block local clients",
  async () => {
    const directory = temporaryDirectory();
    const pkiPath = new Authority(directory, "ours").issue("server", "/CN=hosta");
    const socket = join(directory, "sock");
    const port = await freePort();
    const config = {
      hostname: "hosta",
      hostUuid,
      stateDirectory: join(directory, "state"),
      runDirectory: join(directory, "run"),
      socket: { path: socket },
      tls: { host: "127.0.0.1", port, pkiPath, allowedDns: ["*"] },
      limits: { handshakeMs: 600_000 },
    };
    const path = join(directory, "switchoverd.json");
    writeFileSync(path, JSON.stringify(config));
    const words = `ulimit -n 200; exec ${process.execPath} ${programArguments("switchoverd").join(" ")} --config ${path}`;
    const daemon = spawn("sh", ["-c", words], { stdio: ["ignore", "pipe", "pipe"] });
    onTestFinished(() => void daemon.kill("SIGKILL"));
    let said = "";
    daemon.stderr.on("data", (text) => {
      said += text;
    });
    await Promise.race([once(daemon.stdout, "data"), once(daemon, "close")]);
    const strangers: Socket[] = [];
    onTestFinished(() => {
      for (const stranger of strangers) stranger.destroy();
    });
    for (let count = 0; count < 300; count += 1) {
      const stranger = connect({ port, host: "127.0.0.1" });
      stranger.on("error", () => {});
      strangers.push(stranger);
    }
    await until(() => said.includes("maxAnonymousClients"));
    const uri = `qemu+unix:///system?socket=${socket}`;
    const { rpc, close } = await openConnection(uri, { clock: systemClock, deadlineMs: patienceMs });
    expect(await rpc.call(remote.procedures.connectGetHostname, undefined)).toEqual({ hostname: "hosta" });
    await close();
    expect(said).toMatch(/25 connections have not finished the TLS handshake/);
    expect(said).not.toMatch(/EMFILE/);
  },
);
