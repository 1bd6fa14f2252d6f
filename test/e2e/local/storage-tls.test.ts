// Disk mirrors under TLS, on real QEMUs: with the memory stream's certificates, and without remains after any
// outcome (G1, G4, G6).

import { readdirSync } from "node:fs";
import { describe, expect, test } from "vitest";
import type { CopiedStorage, MigrateOptions } from "../../../src/library/local/migrate.js";
import { expectNoCopies, qemuImg, withDisk } from "../../support/disk-lab.js";
import { hasOpenssl } from "../../support/pki.js";
import { destinationPid, objectsOf, progressedAgain, sourceReaches } from "../../support/proof-guests.js";
import { twoAuthorities } from "../../support/qemu-pki.js";
import { commandLine } from "../../support/qemus-of.js";

const copiesTls = "switchover-copies-tls";

describe.skipIf(!hasOpenssl)("a disk under TLS", () => {
  const { made, mixed } = twoAuthorities();

  const under = (more: object = {}): Partial<MigrateOptions> => ({
    stream: { tls: { credentials: made.credentials, hostname: "here.example", ...more } },
  });

  test.each<[string, () => Partial<MigrateOptions>, CopiedStorage?]>([
    ["over a unix socket", under],
    [
      "compared with the address of a stream over tcp",
      () => ({ transport: "tcp", stream: { tls: { credentials: made.credentials } } }),
    ],
    ["without a certificate of the source", () => under({ verifyPeer: false })],
    ["with synchronous writes", under, { synchronousWrites: true }],
  ])("%s is whole at the destination", async (_, options, storage) => {
    await withDisk("raw", async (lab, { moving }) => {
      const outcome = await lab.ended(lab.migrate({ ...moving(storage), ...options() }));
      expect(outcome).toMatchObject({ kind: "arrived", dropped: [] });
      expect((await lab.proof.check()).disk?.slotsVerified ?? 0).toBeGreaterThan(10);
      await expectNoCopies(lab);
    });
  });

  test("is not exported without TLS, and an abort removes the export", async () => {
    await withDisk("raw", async (lab, { directory, moving }) => {
      const migration = lab.migrate({ ...moving(), ...under(), limits: { diskBandwidthMiBps: 1 } });
      await sourceReaches(migration, "mirroring");
      await progressedAgain(migration);
      expect(await objectsOf(lab.guest)).toContain(copiesTls);
      const socket = commandLine(String(destinationPid(lab)))
        .map((text) => /([^=,:]+)\/[^/]*\.sock/.exec(text)?.[1])
        .find((text) => text !== undefined);
      expect(() => qemuImg("info", `nbd+unix:///drive-proof?socket=${socket}/storage.sock`)).toThrow(/TLS/);
      expect(await migration.abort()).toMatchObject({ accepted: true });
      expect(await lab.ended(migration)).toMatchObject({ kind: "aborted" });
      await expectNoCopies(lab);
      expect(readdirSync(directory)).toEqual(["here"]);
      expect(await lab.ended(lab.migrate({ ...moving(), ...under() }))).toMatchObject({ kind: "arrived" });
    });
  });

  test.each<[string, () => object, RegExp]>([
    [
      "the destination's certificate is of another authority",
      () => ({ credentials: mixed("server-cert.pem", "server-key.pem") }),
      /certificate/,
    ],
    ["it is for another host", () => ({ hostname: "elsewhere.example" }), /elsewhere\.example/],
    [
      "the source's certificate is of another authority",
      () => ({ credentials: mixed("client-cert.pem", "client-key.pem") }),
      /client-cert\.pem.*issuer/,
    ],
  ])("is not copied when %s: the guest stays, the image made is gone", async (_, tls, words) => {
    await withDisk("raw", async (lab, { directory, moving }) => {
      const outcome = await lab.ended(lab.migrate({ ...moving(), ...under(tls()) }));
      expect(outcome).toMatchObject({ kind: "stayed", runs: "source" });
      expect(JSON.stringify(outcome.error?.failures)).toMatch(words);
      await expectNoCopies(lab);
      expect(readdirSync(directory)).toEqual(["here"]);
      expect(await lab.ended(lab.migrate({ ...moving(), ...under() }))).toMatchObject({ kind: "arrived" });
    });
  });

  test.each(["mirroring", "completingMirrors"])(
    "whose destination dies when the source is %s remains the guest's, and can be copied again at once",
    async (state) => {
      await withDisk("raw", async (lab, { directory, moving }) => {
        const slow = state === "mirroring" ? { limits: { diskBandwidthMiBps: 1 } } : {};
        const migration = lab.migrate({ ...moving(), ...under(), ...slow }, (record) => {
          if (record.kind !== "state" || record.side !== "source" || !record.state.startsWith(state)) return;
          process.kill(destinationPid(lab), "SIGKILL");
        });
        expect(await lab.ended(migration)).toMatchObject({ kind: "stayed", runs: "source" });
        await expectNoCopies(lab);
        expect(readdirSync(directory)).toEqual(["here"]);
        expect(await lab.ended(lab.migrate({ ...moving(), ...under() }))).toMatchObject({ kind: "arrived" });
      });
    },
  );
});
