// Observability of a migration between two real switchoverds: metrics, spans, a log, and one page for both.

import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { get } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { StateMachine } from "xstate";
import { remote } from "../../../src/drivers/libvirt/rpc/procedures.js";
import { Hub } from "../../../src/inspector/server/hub.js";
import { serveInspector } from "../../../src/inspector/server/serve.js";
import { followInspector } from "../../../src/inspector/story/remote-source.js";
import { migrateBetween } from "../../../src/library/remote/migrate-between.js";
import { look, whoRunsOn } from "../../support/browser.js";
import { HostProcess, inTwoHosts, whole } from "../../support/host-process.js";
import { programArguments } from "../../support/programs.js";

const answerAt = (socketPath: string, path: string): Promise<string> =>
  new Promise((resolve, reject) => {
    get({ socketPath, path }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (part: string) => {
        text += part;
      });
      response.on("end", () => resolve(text));
    }).on("error", reject);
  });

test("a migration between two switchoverds appears in metrics, traces and the inspector", async () => {
  const at = { a: "", b: "" };
  const directory = mkdtempSync(join(tmpdir(), "seen-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  for (const side of ["a", "b"] as const) at[side] = join(directory, `${side}.sock`);
  const spansFile = join(directory, "spans");
  vi.stubEnv("SPANS", spansFile);
  vi.stubEnv("NODE_OPTIONS", `--import ${join(import.meta.dirname, "otel.mjs")}`);
  const hub = new Hub();
  const inspector = await serveInspector({ hub });
  onTestFinished(() => inspector.close());
  const page = await look(inspector.url);
  await inTwoHosts(
    { each: { a: { http: { socket: at.a } }, b: { http: { socket: at.b } } } },
    async (lab) => {
      const said: string[] = [];
      const followings = Object.values(at).map((text) =>
        followInspector(`unix:${text}`, hub.observe, (why) => said.push(why)),
      );
      expect(await answerAt(at.a, "/metrics")).toContain('switchover_domains{state="running"} 1');
      await lab.peerToPeer("a", "b");
      await lab.runsAt("b");
      await expect.poll(() => whoRunsOn(page)).toContain("The destination runs the guest.");
      for (const [side, end] of [
        ["source", "left"],
        ["coordinator", "ended"],
        ["destination", "arrived"],
      ])
        await expect.poll(() => page.getByTestId(`state-${side}`).textContent()).toBe(end);
      const [from, to] = [await answerAt(at.a, "/metrics"), await answerAt(at.b, "/metrics")];
      expect(from).toContain('switchover_migrations_ended_total{side="source",outcome="left"} 1');
      expect(from).toContain('switchover_migrations_in_progress{side="source"} 0');
      expect(to).toContain('switchover_migrations_ended_total{side="destination",outcome="arrived"} 1');
      expect(to).toContain('switchover_domains{state="running"} 1');
      expect(from).not.toContain(`domain="${lab.guest.name}"`);
      for (const following of followings) following.stop();
      expect(said).toEqual([]);
    },
  );
  const spans = readFileSync(spansFile, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { name: string; traceId: string });
  const ofMigration = spans.filter((span) => span.name.startsWith("migration "));
  expect(ofMigration.map((span) => span.name).sort()).toEqual([
    "migration coordinator",
    "migration destination",
    "migration source",
  ]);
  const [{ migrationId = "" } = {}] = hub.summaries();
  expect(new Set(ofMigration.map((span) => span.traceId)), "over two processes").toEqual(
    new Set([migrationId.replaceAll("-", "")]),
  );
});

const { procedures } = remote;

test("a coordinating client sees the migration under the hosts' id, and can inspect its machine", async () => {
  const inspected: string[] = [];
  const directory = mkdtempSync(join(tmpdir(), "seen-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const at = { a: join(directory, "a.sock"), b: join(directory, "b.sock") };
  const hub = new Hub();
  await inTwoHosts(
    { each: { a: { http: { socket: at.a } }, b: { http: { socket: at.b } } } },
    async (lab) => {
      const followings = Object.values(at).map((text) =>
        followInspector(`unix:${text}`, hub.observe, () => {}),
      );
      const { outcome } = await migrateBetween({
        from: lab.hosts.a.uri,
        to: lab.hosts.b.uri,
        domain: lab.guest.name,
        flags: whole,
        parameters: { xml: lab.guest.xml("b") },
        observe: hub.observe,
        inspect: ({ type, actorRef }) => {
          if (type !== "@xstate.actor" || !("logic" in actorRef)) return;
          if (actorRef.logic instanceof StateMachine) inspected.push(actorRef.logic.id);
        },
      });
      expect((await outcome).kind).toBe("arrived");
      const states = { source: "left", coordinator: "ended", destination: "arrived" };
      await expect.poll(() => hub.summaries().map((summary) => summary.states)).toEqual([states]);
      expect(inspected).toEqual(["coordinator"]);
      for (const following of followings) following.stop();
    },
  );
});

test("a daemon that was restarted during a migration continues its metrics, under the guest's name", async () => {
  const directory = mkdtempSync(join(tmpdir(), "seen-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const socket = join(directory, "a.sock");
  await inTwoHosts({ each: { a: { http: { socket } }, b: {} } }, async (lab) => {
    const ended = lab.peerToPeer("a", "b", "b", { bandwidthMiBps: 3 }).catch(() => {});
    await lab.jobAt("a", (job) => job.dataProcessed > 0n);
    await lab.restart("a");
    const gauge = `switchover_memory_remaining_bytes{domain="${lab.guest.name}"}`;
    await expect.poll(() => answerAt(socket, "/metrics"), { interval: 20 }).toContain(gauge);
    // Slower than the guest dirties its memory until the restart.
    const a = await lab.redial("a").rpc();
    // On a busy machine all memory may have been sent meanwhile.
    await a
      .call(procedures.domainMigrateSetMaxSpeed, { dom: lab.dom, bandwidth: 100n, flags: 0 })
      .catch(() => {});
    await ended;
    await lab.settles();
    await expect.poll(() => answerAt(socket, "/metrics")).not.toContain(gauge);
  });
});

test("a daemon with --log json logs lines of JSON", async () => {
  const host = new HostProcess("logs", { http: { host: "127.0.0.1", port: 39_177 } }, undefined, [
    ...programArguments("switchoverd"),
    "--log",
    "json",
  ]);
  onTestFinished(() => host.remove());
  await host.start();
  expect(existsSync(host.socket)).toBe(true);
  await expect.poll(() => host.told).toContain("inspector and metrics: http://127.0.0.1:39177/");
  for (const line of host.told.trim().split("\n"))
    expect(JSON.parse(line)).toMatchObject({ level: 30, msg: expect.any(String) });
  expect(await (await fetch("http://127.0.0.1:39177/metrics")).text()).toContain("switchover_build_info");
});
