// How a restarted host treats the records that it finds, and what it answers from them. Checks G1 and G3: each case is written
// to disk, and the daemon runs in this process; only Prepare starts a real QEMU.

import { randomUUID } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { bitsOf, toParameters } from "../../../src/drivers/libvirt/client/flags.js";
import { writeCookie } from "../../../src/drivers/libvirt/cookie/write.js";
import { remote } from "../../../src/drivers/libvirt/rpc/procedures.js";
import { decisions, moveEnds, own } from "../../../src/drivers/libvirt/rpc/switchover-program.js";
import { findByArgument, isAlive } from "../../../src/drivers/platform/procfs.js";
import { idWithToken } from "../../../src/protocol/fencing-token.js";
import { damageStory, handedOver, jobOf, migrationId, question } from "../../support/handed-over.js";
import {
  goneQemu,
  HostInProcess,
  muteQemu,
  web,
  webDom,
  webUuid,
  webXml,
  xmlOf,
} from "../../support/in-process.js";
import { sourceOpened } from "../../support/journal-records.js";
import { testLimitMs } from "../../support/patience.js";
import { noCookie } from "../../support/step-by-step.js";
import { until } from "../../support/until.js";

const { procedures } = remote;
const { settle, settleAs } = own.procedures;
const undecidable = { decision: decisions.undecidable };
const flags = bitsOf(["LIVE"]);
const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** The cookie that Begin returned at another host. */
const beginCookie = (migration: string, secret?: string) =>
  writeCookie({
    ...web,
    hostname: "hosta",
    hostUuid: randomUUID(),
    features: [],
    switchover: { version: 1, migration, backings: [], ...(secret !== undefined && { secret }) },
  });

const preparing = (cookieIn: Uint8Array, xml = webXml) => ({
  params: toParameters({ xml }),
  cookieIn,
  flags,
});

describe("a restarted host", () => {
  test("ends the QEMU of an incoming guest that has not arrived, and does not adopt it", {
    timeout: testLimitMs,
  }, async () => {
    const handle = await muteQemu();
    const host = new HostInProcess();
    await host.record({ incoming: migrationId, handle });
    await host.start();
    expect(isAlive(handle)).toBe(false);
    expect(await host.quarantine()).toBeUndefined();
    expect(await guestsOf(host)).toEqual([]);
    const rpc = await host.rpc();
    expect(await rpc.call(settle, question)).toEqual({ decision: decisions.refused });
  });

  test("that lost the journal of an arrival keeps its QEMU, quarantines the guest and refuses nothing", {
    timeout: testLimitMs,
  }, async () => {
    const handle = await muteQemu();
    const host = new HostInProcess();
    await host.record({ incoming: migrationId, handle, journal: "another" });
    await host.start();
    expect(isAlive(handle)).toBe(true);
    expect(await host.quarantine()).toContain("is lost");
    const rpc = await host.rpc();
    expect(await rpc.call(settle, question)).toEqual(undecidable);
    await expect(rpc.call(procedures.domainResume, { dom: webDom })).rejects.toThrow("quarantined");
    await expect(rpc.call(own.procedures.release, { uuid: webUuid })).rejects.toThrow("destroy the domain");
    await rpc.call(procedures.domainDestroy, { dom: webDom });
    expect(isAlive(handle)).toBe(false);
  });

  test("quarantines a guest whose QEMU does not answer, and does not start a second one", {
    timeout: testLimitMs,
  }, async () => {
    const handle = await muteQemu();
    const host = new HostInProcess();
    await host.record({ handle });
    await (await host.records()).definitions.write(webUuid, webXml);
    await host.start();
    expect(await host.quarantine()).toContain("does not answer");
    const rpc = await host.rpc();
    await expect(rpc.call(procedures.domainCreate, { dom: webDom })).rejects.toThrow("quarantined");
    expect(isAlive(handle)).toBe(true);
  });

  test("quarantines the guest of an unreadable story, even when no record names the guest", {
    timeout: testLimitMs,
  }, async () => {
    const [host, there] = [new HostInProcess("hosta"), new HostInProcess("hostb")];
    await handedOver(host, there);
    await (await host.records()).presences.remove(webUuid);
    damageStory(host);
    await host.start();
    expect(await host.quarantine()).toContain("cannot be read");
    const rpc = await host.rpc();
    await expect(rpc.call(procedures.domainCreate, { dom: webDom })).rejects.toThrow("quarantined");
    expect(await rpc.call(settle, question)).toEqual(undecidable);
    expect(host.said.join()).toContain("cannot be read");
  });

  test("does not start a guest of an unresolved migration that was destroyed here, until it is released", {
    timeout: testLimitMs,
  }, async () => {
    const qemu = await muteQemu();
    const host = new HostInProcess();
    await host.record({ departing: migrationId, handle: qemu, journal: "another" });
    await (await host.records()).definitions.write(webUuid, webXml);
    await host.start();
    await (await host.rpc()).call(procedures.domainDestroy, { dom: webDom });
    expect(isAlive(qemu)).toBe(false);
    await host.restart();
    await expect((await host.rpc()).call(procedures.domainCreate, { dom: webDom })).rejects.toThrow(
      "switchover release",
    );
  });
});

describe("a restarted source", () => {
  test("begins a named migration anew when its story had not begun before the host died", {
    timeout: testLimitMs,
  }, async () => {
    const host = new HostInProcess();
    await host.inJournal((journal) => journal.append(sourceOpened(migrationId)));
    await host.start();
    const asked = {
      migrationId,
      uuid: webUuid,
      destinationUri: "qemu+unix:///system?socket=/none",
      params: [],
    };
    const ended = await (await host.rpc()).call(own.procedures.move, { ...asked, flags });
    // The guest is gone: without the story, that is the answer.
    expect(ended).toMatchObject({ end: moveEnds.away });
  });

  test("settles at the address from Prepare's answer, and its guest is away from then on", {
    timeout: testLimitMs,
  }, async () => {
    const [host, there] = [new HostInProcess("hosta"), new HostInProcess("hostb")];
    await there.inJournal((journal) =>
      journal.append({
        kind: "tombstone",
        side: "destination",
        migrationId,
        atMs: Date.now(),
        decision: "taken",
        uuid: webUuid,
      }),
    );
    await handedOver(host, there);
    await there.start();
    await host.start();
    const away = join(host.stateDirectory, "away", `${webUuid}.json`);
    await until(async () => (await jobOf(host)) === 0);
    expect(JSON.parse(readFileSync(away, "utf8"))).toMatchObject({ migrationId, uri: there.uri });
    await host.restart();
    await expect((await host.rpc()).call(procedures.domainCreate, { dom: webDom })).rejects.toThrow(
      "is away",
    );
  });

  test("is not answered that the guest was refused when the destination's journal is not the one of Prepare", {
    timeout: testLimitMs,
  }, async () => {
    const [host, there] = [new HostInProcess("hosta"), new HostInProcess("hostb")];
    await handedOver(host, there);
    await host.record({ departing: migrationId, handle: goneQemu(), secret: "s", peerJournal: "another" });
    await there.start();
    await host.start();
    await wait(1_500);
    expect(await jobOf(host)).not.toBe(0);
    expect(
      readdirSync(join(there.stateDirectory, "journal")).filter((name) => name.includes(migrationId)),
    ).toEqual([]);
  });
});

const guestsOf = async (host: HostInProcess) =>
  (await (await host.rpc()).call(procedures.connectListAllDomains, { needResults: 1, flags: 0 })).domains;

describe("the answer to settle", () => {
  test("is not a refusal when the question names another journal than this host's", {
    timeout: testLimitMs,
  }, async () => {
    const host = new HostInProcess();
    const journal = await host.inJournal(({ identity }) => identity);
    await host.start();
    const rpc = await host.rpc();
    const asked = { ...question, secret: "" };
    expect(await rpc.call(settleAs, { ...asked, journal: "another" })).toEqual(undecidable);
    expect(await rpc.call(settleAs, { ...asked, journal })).toEqual({ decision: decisions.refused });
  });

  test("is not a refusal that was recorded after Prepare's journal was lost, but is a taking from any journal", {
    timeout: testLimitMs,
  }, async () => {
    const host = new HostInProcess();
    const taken = "0f3f-a2";
    const tombstone = { kind: "tombstone", side: "destination", atMs: Date.now(), uuid: webUuid } as const;
    const journal = await host.inJournal(async (opened) => {
      await opened.append({ ...tombstone, migrationId });
      await opened.append({ ...tombstone, migrationId: taken, decision: "taken" });
      return opened.identity;
    });
    await host.start();
    const rpc = await host.rpc();
    const asked = { ...question, secret: "" };
    expect(await rpc.call(settleAs, { ...asked, journal: "another" })).toEqual(undecidable);
    expect(await rpc.call(settleAs, { ...asked, journal })).toEqual({ decision: decisions.refused });
    const other = { ...asked, migrationId: taken, journal: "another" };
    expect(await rpc.call(settleAs, other)).toEqual({ decision: decisions.taken });
  });

  test("refuses for good a guest that never arrived, which then cannot arrive after a restart either", {
    timeout: testLimitMs,
  }, async () => {
    const host = new HostInProcess();
    await host.start();
    const before = await host.rpc();
    expect(await before.call(settle, question)).toEqual({ decision: decisions.refused });
    await host.restart();
    const rpc = await host.rpc();
    await expect(
      rpc.call(procedures.domainMigratePrepare3Params, preparing(beginCookie(migrationId))),
    ).rejects.toThrow("has already been decided on this host");
  });
});

describe("an incoming guest", () => {
  const ownSecret = "the-secret-of-this-pair";
  const cancelled = { params: toParameters({ name: web.name }), cookieIn: noCookie, flags, cancelled: 1 };
  const isThere = (host: HostInProcess) => findByArgument(`${host.directory}/run/`).length > 0;

  test("is ended by the connection that prepared it, not by another one that names it", {
    timeout: testLimitMs,
  }, async () => {
    const host = new HostInProcess();
    await host.start();
    const [leader, stranger] = [await host.rpc(), await host.rpc()];
    await leader.call(procedures.domainMigratePrepare3Params, preparing(noCookie));
    await expect(stranger.call(procedures.domainMigrateFinish3Params, cancelled)).rejects.toThrow(
      "of this connection",
    );
    expect(isThere(host)).toBe(true);
    await expect(leader.call(procedures.domainMigrateFinish3Params, cancelled)).rejects.toThrow("aborted");
    expect(isThere(host)).toBe(false);
  });

  test("is decided for its own source only: the guest's uuid and the pair's secret must match", {
    timeout: testLimitMs,
  }, async () => {
    const host = new HostInProcess();
    await host.start();
    const rpc = await host.rpc();
    const { journal } = await hostsJournal(host, rpc, beginCookie(migrationId, ownSecret));
    const asked = { ...question, journal, secret: "the-secret-of-another" };
    await expect(rpc.call(settleAs, asked)).rejects.toThrow("secret");
    const another = { ...asked, secret: ownSecret, uuid: randomUUID() };
    await expect(rpc.call(settleAs, another)).rejects.toThrow("belongs to another domain");
    expect(isThere(host)).toBe(true);
    const own = { ...asked, secret: ownSecret };
    expect(await rpc.call(settleAs, own)).toEqual({ decision: decisions.refused });
    await until(async () => (await guestsOf(host)).length === 0);
  });

  test("leaves no token behind when another domain has its name", { timeout: testLimitMs }, async () => {
    const host = new HostInProcess();
    await host.start();
    const rpc = await host.rpc();
    await rpc.call(procedures.domainDefineXml, { xml: webXml });
    const other = xmlOf({ name: web.name, uuid: randomUUID() });
    const id = idWithToken(Date.now(), "0123456789abcdef01");
    const cookie = writeCookie({
      name: web.name,
      uuid: /<uuid>(.*)<\/uuid>/.exec(other)?.[1] ?? "",
      hostname: "hosta",
      hostUuid: randomUUID(),
      features: [],
      switchover: { version: 1, migration: id, backings: [] },
    });
    await expect(rpc.call(procedures.domainMigratePrepare3Params, preparing(cookie, other))).rejects.toThrow(
      "already exists",
    );
    expect(readdirSync(join(host.stateDirectory, "tokens"))).toEqual([]);
  });
});

/** Calls Prepare, and returns the identity of the journal in its answer. */
async function hostsJournal(
  host: HostInProcess,
  rpc: Awaited<ReturnType<HostInProcess["rpc"]>>,
  cookie: Uint8Array,
) {
  await rpc.call(procedures.domainMigratePrepare3Params, preparing(cookie));
  return { journal: readFileSync(join(host.stateDirectory, "journal", "identity"), "utf8").trim() };
}
