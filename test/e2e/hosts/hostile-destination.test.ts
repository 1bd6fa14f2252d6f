// A real switchoverd as the source and a malicious destination, which answers Prepare with text that must never reach QEMU, a
// dialler or a terminal. Coordinated by real virsh, by our client and by the source itself (G1, G7).

import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { existsSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, onTestFinished, test } from "vitest";
import type { MigrateFlag } from "../../../src/drivers/libvirt/client/flags.js";
import { Redial } from "../../../src/drivers/libvirt/client/reconnecting-client.js";
import { readCookie } from "../../../src/drivers/libvirt/cookie/cookie.js";
import { cookieFeatures } from "../../../src/drivers/libvirt/cookie/sections.js";
import { writeCookie } from "../../../src/drivers/libvirt/cookie/write.js";
import { domainStates, features } from "../../../src/drivers/libvirt/rpc/constants.js";
import { errorCodes, LibvirtError } from "../../../src/drivers/libvirt/rpc/libvirt-error.js";
import { remote } from "../../../src/drivers/libvirt/rpc/procedures.js";
import { serveRemote } from "../../../src/drivers/libvirt/rpc/service.js";
import { systemClock } from "../../../src/drivers/platform/clock.js";
import { migrateBetween } from "../../../src/library/remote/migrate-between.js";
import { HostProcess, ProofDomain } from "../../support/host-process.js";
import { patienceMs, testLimitMs } from "../../support/patience.js";
import { pair } from "../../support/rpc-pair.js";
import { hasVirsh } from "../../support/virsh-lab.js";

const { procedures } = remote;
const run = promisify(execFile);

const refusing = (message: string) =>
  new LibvirtError({ code: errorCodes.OPERATION_INVALID, domain: 10, message, str1: "%s", str2: message });

interface Lie {
  readonly uri: string;
  readonly settle?: string;
}

/** Answers each Prepare with `lie`, and refuses all other calls. */
class HostileDestination {
  lie: Lie = { uri: "" };
  finished = 0;
  readonly #guest: ProofDomain;

  constructor(guest: ProofDomain) {
    this.#guest = guest;
  }

  async listen(): Promise<string> {
    const known: readonly number[] = [features.migrationV3, features.migrationParams, features.migrationP2p];
    const { path } = await pair({
      services: [
        serveRemote({
          connectOpen: () => {},
          connectClose: () => {},
          connectGetCapabilities: () => ({
            capabilities: `<capabilities><host><uuid>${randomUUID()}</uuid></host></capabilities>`,
          }),
          connectGetUri: () => ({ uri: "qemu:///system" }),
          connectRegisterCloseCallback: () => {},
          connectUnregisterCloseCallback: () => {},
          connectSupportsFeature: ({ feature }) => ({ supported: known.includes(feature) ? 1 : 0 }),
          domainLookupByUuid: () => {
            throw refusing("no such domain");
          },
          domainMigratePrepare3Params: ({ cookieIn }) => ({
            cookieOut: this.#cookie(cookieIn),
            uriOut: this.lie.uri,
          }),
          domainMigrateFinish3Params: () => {
            this.finished++;
            throw refusing("there is no guest");
          },
        }),
      ],
    });
    return `qemu+unix:///system?socket=${path}`;
  }

  /** Belongs to the very migration that is under way: the cookie of another one would not be read. */
  #cookie(cookieIn: Uint8Array): Uint8Array {
    const { settle } = this.lie;
    if (settle === undefined) return new Uint8Array();
    const { name, uuid } = this.#guest;
    const expected = { name, uuid, hostUuid: "", reads: cookieFeatures };
    const migration = readCookie(cookieIn, expected)?.cookie.switchover?.migration ?? "";
    return writeCookie({
      name,
      uuid,
      hostname: "liar",
      hostUuid: randomUUID(),
      features: [],
      switchover: { version: 1, migration, backings: [], settle },
    });
  }
}

/** A source with a counting guest, and a malicious destination. */
async function atHost() {
  const guest = new ProofDomain(`guest-${randomUUID().slice(0, 8)}`);
  onTestFinished(() => guest.remove());
  // A host that other hosts reach: a destination may not name its own loopback.
  const host = new HostProcess("hosta", {
    migration: { listen: "127.0.0.1", host: "hosta.example", relay: false, stallMs: 1_500 },
  });
  onTestFinished(() => host.remove());
  await host.start();
  const redial = new Redial(host.uri, systemClock);
  onTestFinished(() => redial.close());
  await redial.call(procedures.domainDefineXml, { xml: guest.xml("a") });
  await redial.call(procedures.domainCreate, { dom: { name: guest.name, uuid: guest.uuid, id: -1 } });
  await guest.counts("a");
  const destination = new HostileDestination(guest);
  return { guest, host, redial, destination, uri: await destination.listen() };
}

type AtHost = Awaited<ReturnType<typeof atHost>>;

const byVirsh =
  (...options: readonly string[]) =>
  async ({ guest, host, uri }: AtHost): Promise<string> => {
    const xml = join(host.directory, "destination.xml");
    writeFileSync(xml, guest.xml("b"));
    const words = ["-c", host.uri, "migrate", guest.name, uri, "--live", "--xml", xml, ...options];
    const error: unknown = await run("virsh", words, { timeout: patienceMs, killSignal: "SIGKILL" }).then(
      () => new Error("the migration was not refused"),
      (failed: unknown) => failed,
    );
    return String(error);
  };

const byUs =
  (...flags: readonly MigrateFlag[]) =>
  async ({ guest, host, uri }: AtHost): Promise<string> => {
    const migration = await migrateBetween({
      from: host.uri,
      to: uri,
      domain: guest.name,
      flags: ["LIVE", ...flags],
      parameters: { xml: guest.xml("b") },
    });
    const { kind, error } = await migration.outcome;
    return `${kind}: ${error?.message}`;
  };

const leaders = [
  ["virsh", byVirsh(), hasVirsh],
  ["virsh with --p2p", byVirsh("--p2p"), hasVirsh],
  ["our client", byUs(), true],
  ["our client, peer-to-peer", byUs("PEER2PEER"), true],
] as const;

const pwned = join(tmpdir(), `pwned-${randomUUID()}`);
const lies: readonly (readonly [Lie, RegExp])[] = [
  [{ uri: `exec:touch ${pwned}` }, /scheme "exec"/],
  [{ uri: `EXEC:touch ${pwned}` }, /scheme "EXEC"/],
  [{ uri: "fd:1" }, /scheme "fd"/],
  [{ uri: `file:${pwned}` }, /scheme "file"/],
  [{ uri: "rdma://liar.example:49152" }, /rdma/],
  [{ uri: "unix:/etc/passwd" }, /\/etc\/passwd/],
  [{ uri: "unix:/run/libvirt/../../etc/passwd" }, /\.\./],
  [{ uri: "tcp:localhost:49152" }, /loopback/],
  [{ uri: "tcp:127.0.0.1:49152" }, /loopback/],
  [{ uri: "tcp:[::1]:49152" }, /loopback/],
  [{ uri: "tcp:-liar:49152" }, /host/],
  [{ uri: "tcp:liar,to=65535:49152" }, /host/],
  [{ uri: "tcp:liar.example:65536" }, /port/],
  [{ uri: "tcp:liar.example" }, /port/],
  [{ uri: `tcp:liar.example:49152\u001b]0;${pwned}\u0007` }, /port/],
  [{ uri: "tcp:hostb.example:49152", settle: "qemu+unix:///system?socket=/etc/passwd" }, /\/etc\/passwd/],
  [{ uri: "tcp:hostb.example:49152", settle: "qemu+ssh://liar.example/system" }, /ssh/],
  [{ uri: "tcp:hostb.example:49152", settle: "qemu+tls://liar.example/system?pkipath=/etc" }, /pkipath/],
];

describe.each(leaders)("a malicious destination, with %s as the coordinator,", (_, leads, can) => {
  test.skipIf(!can)(
    "is refused with the reason: nothing that it names is run or dialled, and the guest keeps running",
    {
      timeout: testLimitMs,
    },
    async () => {
      const lab = await atHost();
      for (const [lie, why] of lies) {
        lab.destination.lie = lie;
        const said = await leads(lab);
        expect.soft(said, JSON.stringify(lie)).toMatch(why);
        expect.soft(said, "printed as it is").not.toContain("\u001b");
        expect(existsSync(pwned), JSON.stringify(lie)).toBe(false);
      }
      expect(lab.destination.finished).toBeGreaterThan(0);
      const dom = { name: lab.guest.name, uuid: lab.guest.uuid, id: -1 };
      const { state } = await lab.redial.call(procedures.domainGetState, { dom, flags: 0 });
      expect(state).toBe(domainStates.running);
      await lab.guest.counts("a");
      lab.guest.check();
    },
  );
});
