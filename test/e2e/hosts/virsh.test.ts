import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { until } from "../../support/until.js";
import { fieldsOf, hasVirsh, Listening, refusal, VirshLab } from "../../support/virsh-lab.js";

describe.skipIf(!hasVirsh)("virsh", () => {
  test("takes a domain through its life cycle", async () => {
    const lab = await VirshLab.begin();
    const { a, guest } = lab;
    const { name, uuid } = guest;
    const state = () => a.virsh("domstate", "--reason", name);

    expect(await a.virsh("hostname")).toBe("hosta");
    expect(await a.virsh("version")).toMatch(/Running hypervisor: QEMU \d/);
    expect(fieldsOf(await a.virsh("nodeinfo"))).toMatchObject({ "CPU model": "x86_64" });
    expect(await a.virsh("capabilities")).toContain("<uri_transport>tcp</uri_transport>");

    expect(await a.virsh("define", lab.xmlFile("a"))).toContain(`Domain '${name}' defined`);
    expect(await a.virsh("list", "--all")).toMatch(new RegExp(`- +${name} +shut off`));
    expect(await state()).toBe("shut off (unknown)");
    expect(await a.virsh("start", name)).toBe(`Domain '${name}' started`);
    expect(await state()).toBe("running (booted)");
    expect(await a.virsh("domid", name)).toBe("1");
    expect(await a.virsh("domuuid", name)).toBe(uuid);
    expect(fieldsOf(await a.virsh("dominfo", name))).toMatchObject({
      Id: "1",
      Name: name,
      UUID: uuid,
      "OS Type": "hvm",
      State: "running",
      "CPU(s)": "1",
      "Max memory": "65544 KiB",
      Persistent: "yes",
      Autostart: "disable",
      "Managed save": "no",
    });
    expect(await a.virsh("dumpxml", name)).toContain('<domain id="1" type="qemu">');
    expect(await a.virsh("dumpxml", "--inactive", name)).toContain('<domain type="qemu">');

    await guest.counts("a");
    await a.virsh("suspend", name);
    expect(await state()).toBe("paused (user)");
    await a.virsh("resume", name);
    expect(await state()).toBe("running (unpaused)");
    await guest.counts("a");
    guest.check();

    await a.virsh("destroy", name);
    expect(await state()).toBe("shut off (destroyed)");
    expect(guest.pids()).toEqual([]);
    await a.virsh("undefine", name);
    expect(await a.virsh("list", "--all", "--name")).toBe("");

    expect(await a.virsh("create", "--paused", lab.xmlFile("a2"))).toContain(`Domain '${name}' created`);
    expect(await state()).toBe("paused (user)");
    expect(await a.virsh("list", "--transient", "--name")).toBe(name);
    await a.virsh("destroy", name);
    expect(await a.virsh("list", "--all", "--name")).toBe("");
  });

  test("prints libvirt's error messages", async () => {
    const lab = await VirshLab.begin();
    const { a, guest } = lab;
    const { name } = guest;
    expect(await refusal(a.virsh("start", "nobody"))).toContain("failed to get domain 'nobody'");
    await lab.boot();
    expect(await refusal(a.virsh("start", name))).toContain("Domain is already active");
    expect(await refusal(a.virsh("resume", name))).toContain(
      "Requested operation is not valid: domain is already running",
    );
    expect(await refusal(a.virsh("domjobabort", name))).toContain("no job is active on the domain");
    expect(await refusal(a.virsh("start", name, "--autodestroy"))).toContain("Domain is already active");
    const namesake = lab.xmlFile("a", (xml) =>
      xml.replace(guest.uuid, guest.uuid.replace(/^......../, "00000000")),
    );
    expect(await refusal(a.virsh("define", namesake))).toContain(
      `operation failed: domain '${name}' already exists with uuid ${guest.uuid}`,
    );
    await a.virsh("destroy", name);
    expect(await refusal(a.virsh("suspend", name))).toContain(
      "Requested operation is not valid: domain is not running",
    );
    expect(await refusal(a.virsh("start", name, "--autodestroy"))).toContain("unsupported flags (0x2)");

    const odd = lab.xmlFile("a", (xml) => xml.replace("<devices>", "<devices>\n    <panic model='isa'/>"));
    await a.virsh("define", odd);
    expect(await refusal(a.virsh("start", name))).toMatch(
      /unsupported configuration: line \d+, column \d+: domain\/devices\/panic: /,
    );
    expect(await refusal(a.virsh("define", "--validate", odd))).toContain("domain/devices/panic");
    await a.virsh("undefine", name);
    const broken = join(a.process.directory, "broken.xml");
    writeFileSync(broken, "<domain");
    expect(await refusal(a.virsh("define", broken))).toContain("XML error: line 1");
  });
});

describe.skipIf(!hasVirsh)("virsh event", () => {
  test("reports a migration on both sides", async () => {
    const lab = await VirshLab.begin();
    const { a, b, guest } = lab;
    const { name } = guest;
    await lab.boot();
    const other = lab.xmlFile("x", (xml) =>
      xml.replaceAll(name, "stir").replace(guest.uuid, guest.uuid.replace(/^......../, "00000000")),
    );
    const stir = (at: typeof a) => async () => {
      await at.virsh("define", other);
      await at.virsh("undefine", "stir");
    };
    const [source, destination] = await Promise.all([Listening.at(a, stir(a)), Listening.at(b, stir(b))]);
    await lab.migrate("--live", "--undefinesource", "--persistent");
    await lab.countsAt("b");
    await until(() => source.of(name).includes("job-completed"));
    const passes = source.of(name).filter((text) => text.startsWith("migration-iteration"));
    expect(passes[0]).toBe("migration-iteration iteration: '1'");
    expect(source.of(name).filter((text) => !passes.includes(text))).toEqual([
      "lifecycle Suspended Migrated",
      "lifecycle Stopped Migrated",
      "lifecycle Undefined Removed",
      "job-completed",
    ]);
    await until(() => destination.of(name).length >= 3);
    expect(destination.of(name)).toEqual([
      "lifecycle Defined Added",
      "lifecycle Started Migrated",
      "lifecycle Resumed Migrated",
    ]);
  });
});
