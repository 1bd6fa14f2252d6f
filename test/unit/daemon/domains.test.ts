// The domains of a host over state on disk, without a QEMU. Checks G1: a guest that may run, here or elsewhere, is not started,
// and a host's answer that it gives a guest back is durable.

import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { Domains } from "../../../src/daemon/domains/registry.js";
import { isSame, newSecret, receiptOf } from "../../../src/daemon/migrations/evidence.js";
import { systemClock, systemIds } from "../../../src/drivers/platform/clock.js";
import { muteQemu, web, webUuid, webXml, xmlOf } from "../../support/in-process.js";
import { temporaryDirectory } from "../../support/rpc-pair.js";

const away = { migrationId: "m-1", hostname: "hostb", uri: null, sinceMs: 0 };

/** A restarted host that knows its guests. */
async function host({ askBack = async () => {} }: { readonly askBack?: () => Promise<void> } = {}) {
  const directory = temporaryDirectory();
  const [stateDirectory, runDirectory] = [join(directory, "state"), join(directory, "run")];
  mkdirSync(runDirectory, { recursive: true });
  const said: string[] = [];
  const warn = (sentence: string) => void said.push(sentence);
  const options = {
    stateDirectory,
    runDirectory,
    hosting: {},
    clock: systemClock,
    journal: "j",
    askBack,
    warn,
  };
  const domains = await Domains.open(options);
  domains.examined();
  return { domains, stateDirectory, said };
}

/** Makes every write below that directory fail. */
function broken(directory: string): void {
  rmSync(directory, { recursive: true, force: true });
  writeFileSync(directory, "");
}

describe("a host", () => {
  test("does not start a guest while a QEMU of its record lives, however often it is asked", async () => {
    const { domains, stateDirectory } = await host();
    const domain = domains.parse(webXml);
    await domains.define(domain);
    const handle = await muteQemu();
    await domains.keep(domain, { incoming: null, handle, directory: null });
    for (const _ of [1, 2])
      await expect(domains.start(domain, { paused: false })).rejects.toThrow(
        `(pid ${handle.pid}) is still running`,
      );
    expect(readdirSync(join(stateDirectory, "running"))).toEqual([`${webUuid}.json`]);
  });

  test("keeps one of several domains of one name that are defined at once", async () => {
    const { domains } = await host();
    const uuids = ["1", "2", "3"].map((digit) => `${digit}${webUuid.slice(1)}`);
    const defining = uuids.map((uuid) => domains.define(domains.parse(xmlOf({ name: web.name, uuid }))));
    const outcomes = await Promise.allSettled(defining);
    expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "rejected"]);
    expect(domains.all.map(({ uuid }) => uuid)).toEqual([uuids[0]]);
  });

  test("does not start a guest that left when the other host does not answer", async () => {
    const { domains } = await host({ askBack: () => Promise.reject(new Error("hostb does not answer")) });
    const domain = domains.parse(webXml);
    const entry = await domains.define(domain);
    await domains.concede(entry, away);
    await expect(domains.start(domain, { paused: false })).rejects.toThrow("hostb does not answer");
    expect(entry.away).toEqual(away);
  });

  test("does not start a guest that was given back to it when the guest has left again in the meantime", async () => {
    const later = { ...away, migrationId: "m-2" };
    const made = await host({ askBack: async () => void (await made.domains.setAway(webUuid, later)) });
    const { domains } = made;
    const domain = domains.parse(webXml);
    const entry = await domains.define(domain);
    await domains.concede(entry, away);
    await expect(domains.start(domain, { paused: false })).rejects.toThrow(
      "was moved by another request meanwhile",
    );
    expect(entry.away).toEqual(later);
    expect(entry.authority.getSnapshot().context.away).toBe(true);
  });

  test("answers that it gives a guest back only when that is durable, and does not start it either way", async () => {
    const { domains, stateDirectory } = await host();
    const entry = await domains.define(domains.parse(webXml));
    broken(join(stateDirectory, "away"));
    await expect(domains.concede(entry, away)).rejects.toThrow();
    expect(() =>
      domains.requestNow(entry, { type: "operator.startRequested", paused: true, xml: webXml }),
    ).toThrow("away");
  });

  test("does not start a guest that returned before its return is durable", async () => {
    const { domains, stateDirectory } = await host();
    const domain = domains.parse(webXml);
    const entry = await domains.define(domain);
    await domains.concede(entry, away);
    broken(join(stateDirectory, "away"));
    await expect(domains.start(domain, { paused: false })).rejects.toThrow();
    expect(entry.authority.getSnapshot().context.away).toBe(true);
  });
});

describe("the proof of a message", () => {
  const secret = newSecret(systemIds);

  test("is a receipt of this migration, under the secret of this pair", () => {
    const receipts = [
      receiptOf(secret, "m-1"),
      receiptOf(secret, "m-2"),
      receiptOf(newSecret(systemIds), "m-1"),
    ];
    expect(new Set(receipts).size).toBe(3);
    expect(receiptOf(secret, "m-1")).toBe(receipts[0]);
  });

  test("is the same text, not one of its length", () => {
    expect(isSame("abc", "abc")).toBe(true);
    for (const other of ["abd", "ab", "abcd", ""]) expect(isSame("abc", other)).toBe(false);
  });
});
