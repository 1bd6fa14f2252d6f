import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { streams } from "../../support/host-process.js";
import { until } from "../../support/until.js";
import { fieldsOf, hasVirsh, refusal, VirshLab } from "../../support/virsh-lab.js";

describe.skipIf(!hasVirsh)("virsh migrate", () => {
  test("moves a running guest, and both sides report its statistics", async () => {
    const lab = await VirshLab.begin();
    const { a, b, guest } = lab;
    const { name } = guest;
    await lab.boot();
    expect(await lab.migrate("--live")).toBe("");
    await lab.countsAt("b");
    expect(await b.virsh("domstate", "--reason", name)).toBe("running (migrated)");
    expect(await a.virsh("domstate", "--reason", name)).toBe("shut off (migrated)");
    expect(await b.virsh("list", "--persistent", "--name")).toBe("");
    const out = fieldsOf(await a.virsh("domjobinfo", "--completed", "--keep-completed", name));
    expect(out).toMatchObject({
      "Job type": "Completed",
      Operation: "Outgoing migration",
      "Memory remaining": "0.000 B",
    });
    expect(out).toHaveProperty("Total downtime");
    await a.virsh("domjobinfo", "--completed", name);
    // The source's figures are those from the handover: QEMU is not queried while the guest is stopped.
    expect(fieldsOf(await b.virsh("domjobinfo", "--completed", name))).toMatchObject({
      "Job type": "Completed",
      Operation: "Incoming migration",
      "Time elapsed": expect.stringMatching(/\d+ +ms/),
    });
    expect(fieldsOf(await a.virsh("domjobinfo", "--completed", name))).toEqual({ "Job type": "None" });
  });

  test("keeps the definition at the destination, and undefines it at the source", async () => {
    const lab = await VirshLab.begin();
    const { a, b, guest } = lab;
    await lab.boot();
    await lab.migrate("--live", "--persistent", "--undefinesource", "--verbose", "--bandwidth", "64");
    await lab.countsAt("b");
    expect(await a.virsh("list", "--all", "--name")).toBe("");
    expect(await b.virsh("list", "--persistent", "--name")).toBe(guest.name);
  });

  test("keeps the requested definition, or the source's own", async () => {
    const lab = await VirshLab.begin();
    const { a, b, guest } = lab;
    const { name } = guest;
    const titled = (side: string, title: string) =>
      lab.xmlFile(side, (xml) => xml.replace("<memory", `<title>${title}</title><memory`));
    const kept = (at: typeof a) => at.virsh("dumpxml", "--inactive", name);
    await lab.boot();
    const wanted = ["--persistent", "--persistent-xml", titled("b", "asked for")];
    await lab.migrate("--live", "--undefinesource", ...wanted);
    expect(await kept(b)).toContain("<title>asked for</title>");
    expect(await b.virsh("dumpxml", name)).not.toContain("<title>");
    await lab.countsAt("b");

    await b.virsh("define", titled("b", "its own"));
    // Both hosts see the serial port's file.
    await b.virsh("migrate", "--live", "--persistent", name, a.uri);
    expect(await kept(a)).toContain("<title>its own</title>");
    expect(await a.virsh("dumpxml", name)).not.toContain("<title>");
  });

  test("refuses to change the guest during its migration, and to leave its disks behind", async () => {
    const lab = await VirshLab.begin();
    const { a, b, guest } = lab;
    const { name } = guest;
    const disk = join(a.process.directory, "disk.raw");
    writeFileSync(disk, Buffer.alloc(1024 * 1024));
    const withDisk = (xml: string) =>
      xml.replace(
        "<serial",
        `<disk type='file'><driver name='qemu' type='raw'/><source file='${disk}'/><target dev='vda' bus='virtio'/></disk><serial`,
      );
    await a.virsh("create", lab.xmlFile("a", withDisk));
    await guest.counts("a");
    const migrate = (xml: string, ...more: string[]) =>
      a.virsh("migrate", "--live", name, b.uri, "--xml", xml, ...more);
    const changed = lab.xmlFile("b", (xml) => withDisk(xml).replace("<vcpu>1", "<vcpu>2"));
    expect(await refusal(migrate(changed))).toMatch(
      /unsupported configuration: domain\/vcpu: it is "1" at the source/,
    );
    const other = lab.xmlFile("b", (xml) => withDisk(xml).replace(name, "other"));
    expect(await refusal(migrate(other))).toContain("the XML for the destination describes 'other'");
    const odd = lab.xmlFile("b", (xml) =>
      withDisk(xml).replace("<devices>", "<devices><panic model='isa'/>"),
    );
    expect(await refusal(migrate(odd))).toContain("unsupported configuration: domain/devices/panic");
    const same = lab.xmlFile("b", withDisk);
    expect(await refusal(migrate(same))).toMatch(/Unsafe migration: domain\/devices\/disk/);
    await lab.countsAt("a");
    await migrate(same, "--unsafe");
    await lab.countsAt("b");
  });

  test("leaves the guest paused at the destination, under another name", async () => {
    const lab = await VirshLab.begin();
    const { a, b, guest } = lab;
    await lab.boot();
    await lab.migrate("--live", "--suspend", "--dname", "renamed", "--undefinesource");
    expect(await b.virsh("domstate", "--reason", "renamed")).toBe("paused (user)");
    expect(await b.virsh("domuuid", "renamed")).toBe(guest.uuid);
    expect(await a.virsh("list", "--all", "--name")).toBe("");
    await b.virsh("resume", "renamed");
    await lab.countsAt("b");
  });

  test("moves a paused guest without --live, and refuses a running one", async () => {
    const lab = await VirshLab.begin();
    const { a, b, guest } = lab;
    await lab.boot();
    expect(await refusal(lab.migrate())).toContain("argument unsupported: a migration without LIVE");
    await a.virsh("suspend", guest.name);
    await lab.migrate();
    expect(await b.virsh("domstate", guest.name)).toBe("paused");
    await b.virsh("resume", guest.name);
    await lab.countsAt("b");
  });

  test("connects as --migrateuri and --listen-address specify", async () => {
    const lab = await VirshLab.begin();
    const { b, guest } = lab;
    await lab.boot();
    expect(await refusal(lab.migrate("--live", "--migrateuri", "rdma://127.0.0.1"))).toContain(
      "argument unsupported: unsupported scheme rdma",
    );
    await lab.countsAt("a");
    await lab.migrate("--live", "--migrateuri", "tcp://localhost", "--listen-address", "127.0.0.1");
    await lab.countsAt("b");
    expect(await b.virsh("list", "--name")).toBe(guest.name);
  });

  test("lets the source's daemon coordinate with --p2p, there and back", async () => {
    const lab = await VirshLab.begin();
    const { a, b, guest } = lab;
    const { name } = guest;
    await lab.boot();
    await a.virsh("migrate", "--live", "--p2p", name, b.tcp, "--xml", lab.xmlFile("b"), "--undefinesource");
    await lab.countsAt("b");
    expect(fieldsOf(await b.virsh("domjobinfo", "--completed", name))).toMatchObject({
      Operation: "Incoming migration",
    });
    await b.virsh("migrate", "--live", "--p2p", "--persistent", name, a.tcp, "--xml", lab.xmlFile("a2"));
    await until(() => guest.pids().length === 1);
    await guest.counts("a2");
    guest.check();
    expect(await a.virsh("list", "--persistent", "--name")).toBe(name);
    expect(await b.virsh("list", "--all", "--name")).toBe("");
  });

  test.each([
    ["managed", []],
    ["peer-to-peer", ["--p2p"]],
  ])("moves a definition alone with --offline, %s", async (_, mode) => {
    const lab = await VirshLab.begin();
    const { a, b, guest } = lab;
    const { name } = guest;
    await a.virsh("define", lab.xmlFile("a"));
    const offline = (...more: string[]) =>
      a.virsh("migrate", "--offline", ...mode, name, mode.length > 0 ? b.tcp : b.uri, ...more);
    expect(await refusal(offline())).toContain(
      "offline migration must be specified with the persistent flag set",
    );
    await offline("--persistent", "--dname", "copy");
    expect(await a.virsh("list", "--all", "--name")).toBe(name);
    expect(await b.virsh("list", "--all", "--name")).toBe("copy");
    await b.virsh("undefine", "copy");
    await offline("--persistent", "--undefinesource");
    expect(await a.virsh("list", "--all", "--name")).toBe("");
    expect(await b.virsh("domuuid", name)).toBe(guest.uuid);
    expect(await b.virsh("domstate", name)).toBe("shut off");
  });

  test("can be observed, tuned and aborted by other clients", async () => {
    const lab = await VirshLab.begin();
    const { a, b, guest } = lab;
    const { name } = guest;
    await lab.boot();
    await a.virsh("migrate-setspeed", name, "1");
    expect(await a.virsh("migrate-getspeed", name)).toBe("1");
    await a.virsh("migrate-setmaxdowntime", name, "200");
    expect(await a.virsh("migrate-getmaxdowntime", name)).toBe("200");
    const migration = refusal(lab.migrate("--live"));
    const job = async () => fieldsOf(await a.virsh("domjobinfo", name));
    await until(async () => Number.parseFloat((await job())["Memory processed"] ?? "0") > 0);
    expect(await job()).toMatchObject({ Operation: "Outgoing migration" });
    await a.virsh("migrate-setspeed", name, "2");
    expect(await a.virsh("migrate-getspeed", name)).toBe("2");
    expect(await refusal(a.virsh("undefine", name))).toContain("another job is active: migration out");
    await a.virsh("domjobabort", name);
    expect(await migration).toContain("operation aborted: job 'migration out' canceled by client");
    await lab.countsAt("a");
    expect(await a.virsh("domstate", "--reason", name)).toBe("running (migration canceled)");
    expect(await b.virsh("list", "--all", "--name")).toBe("");
    expect(await job()).toEqual({ "Job type": "None" });
    expect(await a.virsh("domjobinfo", "--completed", "--anystats", name)).toContain("Cancelled");
  });

  test("has set new limits in QEMU when virsh reports success, and reports an error when QEMU does not apply them", async () => {
    // The watchdog must not act while the guest is stopped.
    const patient = { migration: { ...streams({ relay: false }), stallMs: 60_000 } };
    const lab = await VirshLab.begin({ watched: true }, undefined, { a: patient });
    const { a, guest } = lab;
    const { name } = guest;
    await lab.boot();
    const [source = 0] = guest.pids();
    await a.virsh("migrate-setspeed", name, "1");
    const migration = refusal(lab.migrate("--live"));
    await until(async () => {
      const { "Memory processed": processed } = fieldsOf(await a.virsh("domjobinfo", name));
      return Number.parseFloat(processed ?? "0") > 0;
    });
    await a.virsh("migrate-setspeed", name, "2");
    await a.virsh("migrate-setmaxdowntime", name, "250");
    expect(
      await guest.asked("a", (monitor) => monitor.execute("query-migrate-parameters", {})),
    ).toMatchObject({ "max-bandwidth": 2 * 2 ** 20, "downtime-limit": 250 });
    process.kill(source, "SIGSTOP");
    const refusals = await Promise.all([
      refusal(a.virsh("migrate-setspeed", name, "3")),
      refusal(a.virsh("migrate-setmaxdowntime", name, "300")),
    ]);
    process.kill(source, "SIGCONT");
    for (const said of refusals) expect(said).toContain("the limits were not changed: ");
    expect(await a.virsh("migrate-getspeed", name)).toBe("2");
    await a.virsh("domjobabort", name);
    expect(await migration).toContain("canceled by client");
    await lab.countsAt("a");
  });

  // Not SIGINT: this virsh then only stops to observe the migration, and waits for its end.
  test("leaves the guest where it is when virsh is killed", async () => {
    const lab = await VirshLab.begin();
    const { a, b, guest } = lab;
    await lab.boot();
    const migration = lab.migrating("--live", "--bandwidth", "1");
    const processed = async () => fieldsOf(await a.virsh("domjobinfo", guest.name))["Memory processed"];
    await until(async () => Number.parseFloat((await processed()) ?? "0") > 0);
    migration.signal("SIGKILL");
    expect(await migration.ended).toBe("SIGKILL");
    await lab.countsAt("a");
    await until(async () => (await b.virsh("list", "--all", "--name")) === "");
    await until(async () => (await a.virsh("domjobinfo", guest.name)).includes("None"));
    expect(await a.virsh("domstate", "--reason", guest.name)).toBe("running (migration canceled)");
  });

  test("can be aborted in the source's daemon with --p2p", async () => {
    const lab = await VirshLab.begin();
    const { a, b, guest } = lab;
    const { name } = guest;
    await lab.boot();
    const words = ["--live", "--p2p", "--bandwidth", "1", name, b.tcp, "--xml", lab.xmlFile("b")];
    const migration = refusal(a.virsh("migrate", ...words));
    const processed = async () => fieldsOf(await a.virsh("domjobinfo", name))["Memory processed"];
    await until(async () => Number.parseFloat((await processed()) ?? "0") > 0);
    await a.virsh("domjobabort", name);
    expect(await migration).toContain("operation aborted: job 'migration out' canceled by client");
    await lab.countsAt("a");
    await until(async () => (await b.virsh("list", "--all", "--name")) === "");
  });

  test("resumes a guest that --timeout has suspended when the migration is aborted", async () => {
    const lab = await VirshLab.begin({ watched: true });
    const { a, guest } = lab;
    await lab.boot();
    const { ended } = lab.migrating("--live", "--bandwidth", "1", "--timeout", "1");
    await until(async () => (await a.virsh("domstate", "--reason", guest.name)) === "paused (migrating)");
    expect(await guest.asked("a", (monitor) => monitor.execute("query-status", {}))).toMatchObject({
      running: false,
    });
    await a.virsh("domjobabort", guest.name);
    expect(await ended).toBe(1);
    await lab.countsAt("a");
    expect(await a.virsh("domstate", guest.name)).toBe("running");
  });

  test("suspends the guest after --timeout, and it resumes at the destination", async () => {
    const lab = await VirshLab.begin();
    const { a, b, guest } = lab;
    await lab.boot();
    // Slower than the guest dirties its memory: it converges only once the guest is suspended.
    await lab.migrate("--live", "--bandwidth", "6", "--timeout", "1");
    expect(await b.virsh("domstate", guest.name)).toBe("running");
    await lab.countsAt("b");
    expect(await a.virsh("domstate", guest.name)).toBe("shut off");
  });
});
