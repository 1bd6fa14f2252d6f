// Drains real switchoverds of real guests: each keeps its count although daemons and the conductor die. Checks G1 and G2.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { bitsOf } from "../../../src/drivers/libvirt/client/flags.js";
import { moveEnds, own } from "../../../src/drivers/libvirt/rpc/switchover-program.js";
import { systemClock } from "../../../src/drivers/platform/clock.js";
import { type DrainRequest, defaultDrainLimits, type GuestStory } from "../../../src/fleet/drain.js";
import { openFileEngine } from "../../../src/fleet/file-engine.js";
import { fleetNow } from "../../../src/fleet/fleet-file.js";
import { RpcMover } from "../../../src/fleet/rpc-mover.js";
import { conduct } from "../../../src/fleet/run-drain.js";
import { idWithToken } from "../../../src/protocol/fencing-token.js";
import { patienceMs, testLimitMs } from "../../support/patience.js";
import { programArguments } from "../../support/programs.js";
import { RealFleet } from "../../support/real-fleet.js";
import { drainUnderFaults } from "./fleet-faults.js";

const clock = systemClock;
const random = () => Array.from({ length: 18 }, () => Math.floor(Math.random() * 16).toString(16)).join("");

async function fleetOf(hosts: readonly string[], homes: readonly string[]) {
  const fleet = new RealFleet(hosts, homes);
  onTestFinished(() => fleet.end());
  await fleet.begin();
  const uris = new Map(fleet.file.hosts.map((host) => [host.name, host.uri]));
  const directory = mkdtempSync(join(tmpdir(), "drain-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return { fleet, uris, directory };
}

test("two hosts are drained while daemons and the conductor die, and every guest keeps its count", {
  timeout: testLimitMs,
}, async () => {
  // Each destination is tried once for a guest, and both daemons that die may belong to moves of the same guest.
  const { fleet, uris, directory } = await fleetOf(
    ["h1", "h2", "h3", "h4", "h5"],
    ["h1", "h1", "h1", "h2", "h2", "h3"],
  );
  const wish: DrainRequest = {
    sources: ["h1", "h2"],
    limits: defaultDrainLimits,
    attempts: 4,
    deadlineMs: null,
  };
  let guests: readonly GuestStory[] | undefined;
  for (let life = 0; guests === undefined; life += 1) {
    const engine = await openFileEngine(directory, "one");
    const mover = new RpcMover({ clock, uris });
    let underWay = 0;
    const conducted = conduct({
      mover,
      clock,
      random,
      againMs: 100,
      engine: await engine.run(async (value) => value),
      begun: async () => ({
        kind: "begun",
        atMs: clock.now(),
        wish,
        fleet: await fleetNow(fleet.file, clock),
      }),
      onEvent: (_, drain) => {
        underWay = drain.underWay.length;
      },
    });
    if (life < 2) {
      // The conductor dies while a move is under way, and so does a daemon.
      await expect.poll(() => underWay, { interval: 5 }).toBeGreaterThan(0);
      await new Promise((resolve) => setTimeout(resolve, 150 * (life + 1)));
      conducted.detach();
      await fleet.restart(life === 0 ? "h1" : "h4");
    } else guests = await conducted.ended;
    await mover.close();
    await engine.close();
  }
  expect(guests.map((guest) => `${guest.status} ${guest.why}`)).toEqual(guests.map(() => "arrived "));
  expect(guests).toHaveLength(5);
  await fleet.settled();
  for (const [guest, hosts] of await fleet.whereAll()) {
    expect(hosts, guest).toHaveLength(1);
    expect(["h3", "h4", "h5"]).toContain(hosts[0]);
  }
  await fleet.check();
});

test("an orchestrator that was replaced starts no more moves, at the source and at the destination", {
  timeout: testLimitMs,
}, async () => {
  const { fleet, uris } = await fleetOf(["h1", "h2"], ["h1"]);
  const [guest] = fleet.guests;
  if (guest === undefined) throw new Error("no guest was booted");
  const move = (from: string, to: string, token: number, id = idWithToken(token, random())) =>
    fleet.at(from, (rpc) =>
      rpc.call(
        own.procedures.move,
        {
          migrationId: id,
          uuid: guest.uuid,
          destinationUri: uris.get(to) ?? "",
          params: [],
          flags: bitsOf(["LIVE", "PEER2PEER", "PERSIST_DEST", "UNDEFINE_SOURCE"]),
        },
        { deadlineMs: patienceMs },
      ),
    );
  const first = idWithToken(5, random());
  const joined = await Promise.all([move("h1", "h2", 5, first), move("h1", "h2", 5, first)]);
  expect(
    joined.map((drain) => drain.end),
    "one move for two requests",
  ).toEqual([moveEnds.arrived, moveEnds.arrived]);
  expect(await move("h1", "h2", 5, first), "and once more, of a daemon that was restarted").toMatchObject({
    end: moveEnds.arrived,
  });
  await fleet.restart("h1");
  expect(await move("h1", "h2", 5, first)).toMatchObject({ end: moveEnds.arrived });
  expect((await move("h1", "h2", 6)).end, "it is not here any more").toBe(moveEnds.away);
  expect(await move("h2", "h1", 4)).toMatchObject({
    end: moveEnds.stayed,
    why: expect.stringContaining("has been superseded"),
  });
  expect((await move("h2", "h1", 7)).end).toBe(moveEnds.arrived);
  await fleet.restart("h1");
  const late = await move("h1", "h2", 6);
  expect(late, "durably").toMatchObject({
    end: moveEnds.stayed,
    why: expect.stringContaining("has been superseded"),
  });
  await fleet.check();
});

test("the drain command prints its plan, drains the hosts, and reports on each guest", {
  timeout: testLimitMs,
}, async () => {
  const { fleet, directory } = await fleetOf(["h1", "h2", "h3"], ["h1", "h1", "h1"]);
  const path = join(directory, "fleet.json");
  writeFileSync(path, JSON.stringify(fleet.file));
  const log = join(directory, "drains");
  const drain = async (...words: string[]) => {
    const child = spawn(
      process.execPath,
      [...programArguments("switchover"), "drain", ...words, "--log", log],
      {
        stdio: ["ignore", "pipe", "pipe"],
      },
    );
    let said = "";
    for (const readable of [child.stdout, child.stderr])
      readable.on("data", (text) => {
        said += text;
      });
    const [code] = (await once(child, "close")) as [number];
    return { code, said };
  };
  const dry = await drain("h1", "--fleet", path, "--dry-run");
  expect(dry).toMatchObject({
    code: 0,
    said: expect.stringContaining("3 guests would be migrated in about"),
  });
  for (const [, hosts] of await fleet.whereAll()) expect(hosts).toEqual(["h1"]);
  expect(await drain("h9", "--fleet", path)).toMatchObject({
    code: 2,
    said: expect.stringContaining('"h9" matches no host'),
  });
  expect(await drain("h1", "--fleet", path, "--comp-zlib-level", "3")).toMatchObject({
    code: 2,
    said: expect.stringContaining("--comp-zlib-level needs --comp-methods zlib"),
  });
  const nobody = "postgresql://postgres@127.0.0.1:9/postgres";
  expect(await drain("h1", "--fleet", path, "--engine", nobody)).toMatchObject({
    code: 2,
    said: expect.stringContaining("the drain's database cannot be used: connect ECONNREFUSED"),
  });
  const done = await drain("h1", "--fleet", path, "--parallel", "--parallel-connections", "3");
  expect(done, done.said).toMatchObject({
    code: 0,
    said: expect.stringContaining("3 of 3 guests arrived"),
  });
  for (const [, hosts] of await fleet.whereAll()) expect(hosts).not.toEqual(["h1"]);
  const [id] = /(?<=drain )[\da-f-]{36}/.exec(done.said) ?? [];
  const again = await drain("--resume", id ?? "", "--fleet", path);
  expect(again, "it has ended, and is told once more").toMatchObject({
    code: 0,
    said: expect.stringContaining("3 of 3 guests arrived"),
  });
  await fleet.check();
});

const noPostgres = existsSync("/usr/lib/postgresql/15/bin/postgres")
  ? undefined
  : "there is no PostgreSQL 15 here";
if (noPostgres !== undefined) console.warn(`draining on DBOS is not tested: ${noPostgres}`);

test.skipIf(noPostgres !== undefined)(
  "eight hosts with 24 guests are drained on DBOS while daemons, QEMUs, the database server and the conductor die",
  { timeout: testLimitMs },
  async () => {
    const told: string[] = [];
    // One of each kind of fault, and two more.
    const swept = await drainUnderFaults(2, (what) => told.push(what));
    expect(swept.arrived + swept.stayed + swept.killed, told.join("\n")).toBeGreaterThanOrEqual(12);
    expect(swept.lives).toBeGreaterThan(1);
  },
);
