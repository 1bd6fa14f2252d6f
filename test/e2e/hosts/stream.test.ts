// The memory stream's options between two daemons, coordinated by real virsh: in force at both QEMUs while memory is
// transferred, and reset when the guest has arrived, or stays (G1, G2, G6).

import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { cpSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, onTestFinished, test } from "vitest";
import { capabilitiesIn } from "../../../src/daemon/migrations/cookies.js";
import { checkTogether } from "../../../src/daemon/migrations/flag-conflicts.js";
import type { MigrateFlag, MigrateParameters } from "../../../src/drivers/libvirt/client/flags.js";
import { errorCodes } from "../../../src/drivers/libvirt/rpc/libvirt-error.js";
import { remote } from "../../../src/drivers/libvirt/rpc/procedures.js";
import { migrateBetween } from "../../../src/library/remote/migrate-between.js";
import { qemuImg } from "../../support/disk-lab.js";
import { hostOf } from "../../support/either-host.js";
import { freePort } from "../../support/free-port.js";
import { inTwoHosts, ProofDomain, type ProofDomainOptions, streams } from "../../support/host-process.js";
import { hasLibvirtd } from "../../support/libvirtd.js";
import { hasOpenssl } from "../../support/pki.js";
import { programArguments } from "../../support/programs.js";
import { twoAuthorities } from "../../support/qemu-pki.js";
import { until } from "../../support/until.js";
import { fieldsOf, hasVirsh, type VirshHost, VirshLab } from "../../support/virsh-lab.js";

const { procedures } = remote;
/** Flags of DOMAIN_GET_XML_DESC. */
const migratable = 8;
interface InForce {
  readonly on: readonly string[];
  readonly [parameter: string]: unknown;
}

/** Returns all migration settings of that side's QEMU. */
const settingsAt = (guest: ProofDomain, side: string) =>
  guest.asked(side, async (main) => {
    const capabilities = await main.execute("query-migrate-capabilities", {});
    return {
      on: capabilities.filter((capability) => capability.state).map((capability) => capability.capability),
      ...(await main.execute("query-migrate-parameters", {})),
    };
  });

const expectInForce = async (guest: ProofDomain, side: string, { on, ...parameters }: InForce) =>
  expect(await settingsAt(guest, side)).toMatchObject({ on: expect.arrayContaining([...on]), ...parameters });

/** The effective value of level 9: QEMU 7.2 accepts it, and keeps 1. */
const levelKept = (guest: ProofDomain, parameter: "multifd-zlib-level" | "multifd-zstd-level") =>
  guest.asked("a", async (main) => {
    await main.execute("migrate-set-parameters", { [parameter]: 9 });
    const { [parameter]: kept } = await main.execute("query-migrate-parameters", {});
    await main.execute("migrate-set-parameters", { [parameter]: 1 });
    return kept;
  });

const ours = async (...words: string[]): Promise<string> => {
  await promisify(execFile)(process.execPath, [...programArguments("switchover"), ...words]);
  return "";
};

const hasMoved = (from: VirshHost, { name }: ProofDomain, what: "Memory" | "File") =>
  until(async () => {
    const told = fieldsOf(await from.virsh("domjobinfo", name));
    return Number.parseFloat(told[`${what} processed`] ?? "0") > 0;
  });

/** A guest that moves back and forth; its host, and the last side that its XML was for. */
class Travels {
  readonly lab: VirshLab;
  #at: "a" | "b" = "a";
  #sides = ["a"];

  private constructor(lab: VirshLab) {
    this.lab = lab;
  }

  static async begin(...words: Parameters<typeof VirshLab.begin>): Promise<Travels> {
    const [wish = {}, ...rest] = words;
    const lab = await VirshLab.begin({ watched: true, ...wish }, ...rest);
    await lab.boot();
    return new Travels(lab);
  }

  get here() {
    return this.lab[this.#at];
  }

  get side(): string {
    return this.#sides.at(-1) ?? "";
  }

  /** Migrates more slowly than the guest dirties its memory, until the limit is raised. `command`: our command, or virsh. */
  leave(options: readonly string[], bandwidth = "2", command = "virsh") {
    const { guest } = this.lab;
    const from = this.here;
    const to = this.lab[this.#at === "a" ? "b" : "a"];
    const side = `side${this.#sides.length}`;
    const uri = options.includes("--p2p") ? to.tcp : to.uri;
    const how = [...options, "--bandwidth", bandwidth, "--xml", this.lab.xmlFile(side)];
    const asked =
      command === "virsh"
        ? from.virsh("migrate", "--live", guest.name, uri, ...how)
        : ours("migrate", "--from", from.uri, "--to", uri, "--domain", guest.name, ...how);
    const ended = asked.catch((error: unknown) =>
      error instanceof Error && "stderr" in error ? String(error.stderr) : String(error),
    );
    const arrived = async () => {
      expect(await ended).toBe("");
      this.#at = this.#at === "a" ? "b" : "a";
      this.#sides.push(side);
      await until(() => guest.pids().length === 1);
      await guest.counts(side);
      guest.check();
      expect((await settingsAt(guest, side)).on).toEqual([]);
    };
    const failed = ended.then((said) => {
      if (said !== "") throw new Error(said);
    });
    failed.catch(() => {});
    const moves = (what: "Memory" | "File" = "Memory") => Promise.race([failed, hasMoved(from, guest, what)]);
    return { side, ended, arrived, moves, letGo: () => from.virsh("migrate-setspeed", guest.name, "0") };
  }

  /** Checks that the guest stayed, unchanged. */
  async stays(): Promise<void> {
    const { guest } = this.lab;
    await until(() => guest.pids().length === 1);
    await guest.counts(this.side);
    guest.check();
    expect((await settingsAt(guest, this.side)).on).toEqual([]);
  }
}

const ofBoth: readonly [options: readonly string[], both: InForce, source?: InForce][] = [
  [["--parallel", "--parallel-connections", "3", "--p2p"], { on: ["multifd"], "multifd-channels": 3 }],
  [
    ["--parallel", "--compressed", "--comp-methods", "zstd"],
    { on: ["multifd"], "multifd-channels": 2, "multifd-compression": "zstd" },
  ],
  [["--compressed"], { on: ["xbzrle"] }],
  [
    ["--comp-methods", "xbzrle", "--comp-xbzrle-cache", "8388608", "--p2p"],
    { on: ["xbzrle"] },
    { on: ["xbzrle"], "xbzrle-cache-size": 2 ** 23 },
  ],
  [
    [
      ...["--compressed", "--comp-methods", "mt", "--comp-mt-level", "3"],
      ...["--comp-mt-threads", "2", "--comp-mt-dthreads", "4"],
    ],
    { on: ["compress"] },
    { on: ["compress"], "compress-level": 3, "compress-threads": 2 },
  ],
  [
    ["--auto-converge", "--auto-converge-initial", "30", "--auto-converge-increment", "20"],
    { on: [] },
    { on: ["auto-converge"], "cpu-throttle-initial": 30, "cpu-throttle-increment": 20 },
  ],
  [["--parallel", "--zerocopy"], { on: ["multifd"] }, { on: ["zero-copy-send"] }],
  [
    ["--postcopy", "--postcopy-bandwidth", "9"],
    { on: ["postcopy-ram"] },
    { on: ["postcopy-ram"], "max-postcopy-bandwidth": 9 * 2 ** 20 },
  ],
];

describe.skipIf(!hasVirsh)("virsh migrate", () => {
  test("sets each option in both QEMUs, there and back, and resets it afterwards", async () => {
    const travels = await Travels.begin();
    const { guest } = travels.lab;
    for (const [options, both, source = both] of ofBoth) {
      const before = travels.side;
      const going = travels.leave(options);
      await going.moves();
      await expectInForce(guest, before, source);
      await expectInForce(guest, going.side, both);
      await going.letGo();
      await going.arrived();
    }
  });

  test("resets QEMU's settings after an abort, after the death of the destination's QEMU, and by our own command with --timeout", async () => {
    const travels = await Travels.begin();
    const { lab } = travels;
    /** Our own command, which has the same options, and one that virsh 9.0 does not have. */
    const withLevel = async (method: "zlib" | "zstd", ...more: string[]) => {
      const words = ["--parallel", "--compressed", "--comp-methods", method, `--comp-${method}-level`, "9"];
      const level = await levelKept(lab.guest, `multifd-${method}-level`);
      const going = travels.leave([...words, ...more], "2", "ours");
      await going.moves();
      await expectInForce(lab.guest, "a", { on: ["multifd"], [`multifd-${method}-level`]: level });
      await expectInForce(lab.guest, going.side, { on: ["multifd"], "multifd-compression": method });
      return going;
    };
    const aborted = await withLevel("zstd");
    await travels.here.virsh("domjobabort", lab.guest.name);
    expect(await aborted.ended).toContain("aborted");
    await travels.stays();

    const [source] = lab.guest.pids();
    const bereft = travels.leave(["--parallel"]);
    await bereft.moves();
    for (const pid of lab.guest.pids()) if (pid !== source) process.kill(pid, "SIGKILL");
    expect(await bereft.ended).toContain("perform failed at the source");
    await travels.stays();

    const late = travels.leave(["--compressed", "--timeout", "1", "--timeout-abort"], "2", "ours");
    expect(await late.ended).toContain("aborted");
    await travels.stays();

    const suspended = await withLevel("zlib", "--timeout", "2");
    await suspended.arrived();
  });
});

test("continues on parallel connections, peer-to-peer, when the source's daemon is killed with -9", async () => {
  await inTwoHosts({}, async (lab) => {
    const parameters = { parallelConnections: 3, bandwidthMiBps: 2, compression: ["zlib"] };
    const ended = lab.peerToPeer("a", "b", "b", parameters, ["PARALLEL"]).catch(() => {});
    await lab.jobAt("a", ({ memTotal }) => memTotal > 0n);
    await lab.restart("a");
    const rpc = await lab.rpc("a");
    // On a busy machine all memory may have been sent meanwhile.
    await rpc
      .call(procedures.domainMigrateSetMaxSpeed, { dom: lab.dom, bandwidth: 0n, flags: 0 })
      .catch(() => {});
    await ended;
    expect(await lab.countsOn()).toBe("b");
  });
});

test("a peer whose cookie lists no features is assumed to support the requested ones", () => {
  expect(capabilitiesIn(null, { compression: { xbzrle: {} } })).toEqual(["events", "return-path", "xbzrle"]);
});

test.each<[MigrateFlag[], MigrateParameters, keyof typeof errorCodes, string]>([
  [["ZEROCOPY"], {}, "OPERATION_INVALID", "works on parallel connections only"],
  [["PARALLEL", "TLS", "ZEROCOPY"], {}, "INVALID_ARG", "cannot send encrypted memory"],
  [
    [],
    { parallelConnections: 2 },
    "INVALID_ARG",
    "'parallel.connections' tunes PARALLEL (--parallel), which is off",
  ],
  [["PARALLEL"], { parallelConnections: 256 }, "INVALID_ARG", "from 1 to 255"],
  [[], { autoConvergeInitialPercent: 2 }, "INVALID_ARG", "tunes AUTO_CONVERGE"],
  [["COMPRESSED"], { compressionMtLevel: 2 }, "INVALID_ARG", "tunes the compression method mt"],
  [[], { compression: ["mt"], compressionXbzrleCacheBytes: 4096 }, "INVALID_ARG", "method xbzrle"],
  [[], { compression: ["xbzrle"], compressionXbzrleCacheBytes: 5000 }, "INVALID_ARG", "power of two"],
  [[], { compression: ["lz4"] }, "INVALID_ARG", "Unsupported compression method 'lz4'"],
  [[], { compression: ["toString"] }, "INVALID_ARG", "Unsupported compression method 'toString'"],
  [[], { compression: ["mt", "mt"] }, "INVALID_ARG", "specified twice"],
  [[], { compression: ["zlib"] }, "INVALID_ARG", "works on parallel connections only"],
  [["PARALLEL"], { compression: ["xbzrle"] }, "INVALID_ARG", "does not work on parallel connections"],
  [["PARALLEL", "COMPRESSED"], {}, "INVALID_ARG", "has no method"],
  [["PEER2PEER", "TUNNELLED", "PARALLEL"], {}, "INVALID_ARG", "a tunnel carries one connection"],
  [["PEER2PEER", "TUNNELLED", "TLS"], {}, "ARGUMENT_UNSUPPORTED", "use a TLS URI instead"],
])("a step with %j and %j is refused with %s: %s", (flags, parameters, code, words) => {
  const asked = { flags: new Set<MigrateFlag>(["LIVE", ...flags]), parameters, cookie: new Uint8Array() };
  const check = () => checkTogether(asked, { side: "source" });
  expect(check).toThrow(words);
  expect(check).toThrow(expect.objectContaining({ code: errorCodes[code] }));
});

test("a destination accepts parameters that only concern the source, and both sides accept those that tune nothing", () => {
  const cookie = new Uint8Array();
  const asked = (parameters: MigrateParameters) => ({
    flags: new Set(["LIVE"] as const),
    parameters,
    cookie,
  });
  checkTogether(asked({ autoConvergeInitialPercent: 2 }), { side: "destination" });
  checkTogether(asked({ tlsDestination: "b", postcopyBandwidthMiBps: 2 }), { side: "source" });
});

describe.skipIf(!hasVirsh || !hasOpenssl)("virsh migrate --tls", () => {
  const { made, copied } = twoAuthorities();
  const inForce: InForce = { on: [], "tls-creds": "switchover-migration-tls" };

  /** Each host has its own certificates, and b's can be damaged. */
  async function underTls(wish: ProofDomainOptions = {}) {
    const atB = copied("b");
    const each = (credentials: string) => ({
      migration: { ...streams({ relay: true }), tls: { credentials } },
    });
    const travels = await Travels.begin(wish, undefined, { a: each(made.credentials), b: each(atB) });
    const spoil = (from: string, ...files: string[]) => {
      for (const file of files) cpSync(join(from, file), join(atB, file));
    };
    return { travels, guest: travels.lab.guest, spoil };
  }

  test("does not export the disk without TLS, and moves it", async () => {
    const { travels, guest } = await underTls({ disk: "raw" });
    const port = await freePort();
    const going = travels.leave(["--tls", "--copy-storage-all", "--disks-port", `${port}`]);
    await going.moves("File");
    expect(() => qemuImg("info", `nbd://127.0.0.1:${port}/drive-ide0-0-0`)).toThrow(/TLS/);
    await going.letGo();
    await going.arrived();
    await guest.checkDisk("side1");
    // Neither address tells whose certificate is expected.
    const path = `unix://${join(travels.here.process.directory, "disks.sock")}`;
    await travels.leave(["--tls", "--copy-storage-all", "--disks-uri", path], "0").arrived();
    await guest.checkDisk("side2");
  });

  test("encrypts the memory through a relay, and on parallel connections, peer-to-peer", async () => {
    const { travels, guest } = await underTls();
    for (const [options, on] of [
      [["--tls"], []],
      [["--tls", "--parallel", "--p2p"], ["multifd"]],
    ] as const) {
      const before = travels.side;
      const going = travels.leave(options);
      await going.moves();
      await expectInForce(guest, before, { ...inForce, on, "tls-hostname": "127.0.0.1" });
      await expectInForce(guest, going.side, { ...inForce, on });
      await going.letGo();
      await going.arrived();
      expect(await settingsAt(guest, going.side)).toMatchObject({ "tls-creds": "" });
    }
  });

  test("refuses a certificate that is for another host or of another authority, and the guest stays", async () => {
    const { travels, spoil } = await underTls();
    const named = (name: string) => travels.leave(["--tls", "--tls-destination", name], "0");
    expect(await named("elsewhere.example").ended).toMatch(
      /at the source.* does not match the hostname elsewhere\.example/,
    );
    await travels.stays();
    spoil(made.strangers, "server-cert.pem", "server-key.pem");
    expect(await travels.leave(["--tls"], "0").ended).toMatch(
      /at the destination.*Our own certificate .* hasn't got a known issuer/,
    );
    await travels.stays();
    spoil(made.strangers, "ca-cert.pem");
    expect(await travels.leave(["--tls"], "0").ended).toMatch(/at the source.* hasn't got a known issuer/);
    await travels.stays();
    spoil(made.credentials, "ca-cert.pem", "server-cert.pem", "server-key.pem");
    await named("here.example").arrived();
  });
});

describe.skipIf(!hasLibvirtd)("compression between a libvirtd and a switchoverd", () => {
  const { made } = twoAuthorities();
  const parallel = { parallelConnections: 3, autoConvergeInitialPercent: 30 };
  const onParallel = { on: ["multifd"], "multifd-channels": 3 };
  const throttled = { on: ["auto-converge"], "cpu-throttle-initial": 30 };
  const rows: readonly [readonly MigrateFlag[], MigrateParameters, both: InForce, source?: InForce][] = [
    [["PARALLEL", "AUTO_CONVERGE"], parallel, onParallel, throttled],
    [["PARALLEL", "AUTO_CONVERGE", "PEER2PEER"], parallel, onParallel, throttled],
    [["COMPRESSED", "PEER2PEER"], {}, { on: ["xbzrle"] }],
    [["TLS"], {}, { on: [], "tls-creds": expect.stringContaining("migrat") }],
  ];

  test("is in force at both, there and back, managed and peer-to-peer", async () => {
    const tls = made.credentials;
    const libvirtd = await hostOf("libvirtd", "hosta", { qemu: { default_tls_x509_cert_dir: tls } });
    const daemon = await hostOf("switchoverd", "hostb", {
      migration: { ...streams({ relay: false }), tls: { credentials: tls } },
    });
    const guest = new ProofDomain(`guest-${randomUUID().slice(0, 8)}`, { watched: true });
    onTestFinished(() => guest.remove());
    // libvirt rounds memory up to MiB. With that size QEMU 7.2 under TCG loses pages: the count is not checked.
    const xmlDesc = guest.xml("side0").replace("65544", "66560");
    const rpc = await libvirtd.redial.rpc();
    const { dom } = await rpc.call(procedures.domainCreateXml, { xmlDesc, flags: 0 });
    let number = 0;
    for (const [flags, parameters, both, source = both] of rows)
      for (const [from, to] of [
        [libvirtd, daemon],
        [daemon, libvirtd],
      ] as const) {
        const [before, side] = [`side${number}`, `side${number + 1}`];
        number += 1;
        const here = await from.redial.rpc();
        const { xml } = await here.call(procedures.domainGetXmlDesc, { dom, flags: migratable });
        guest.xml(side);
        const migration = await migrateBetween({
          from: from.uri,
          to: to.uri,
          domain: guest.name,
          flags: ["LIVE", ...flags],
          parameters: {
            ...parameters,
            uri: "tcp://127.0.0.1",
            bandwidthMiBps: 2,
            xml: xml.replaceAll(`${before}.`, `${side}.`),
          },
        });
        const what = `${flags} to ${to.uri}`;
        const failed = migration.outcome.then(({ error }) => {
          if (error !== null) throw new Error(`${what}: ${error.message}`);
        });
        const moves = until(async () => ((await migration.progress())?.transferredBytes ?? 0) > 0);
        await Promise.race([moves, failed]);
        await expectInForce(guest, before, both);
        await expectInForce(guest, before, source);
        await expectInForce(guest, side, both);
        await here.call(procedures.domainMigrateSetMaxSpeed, { dom, bandwidth: 1000n, flags: 0 });
        const { kind, error } = await migration.outcome;
        expect(kind, `${what}: ${error?.message}`).toBe("arrived");
        await until(() => guest.pids().length === 1);
        await guest.counts(side);
      }
  });
});
