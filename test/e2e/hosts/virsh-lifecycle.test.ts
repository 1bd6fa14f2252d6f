// Domain operations by virsh other than migration, and the reports on them.

import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { buttonFirmware } from "../../support/button-firmware.js";
import { until } from "../../support/until.js";
import { fieldsOf, hasVirsh, Listening, refusal, VirshLab } from "../../support/virsh-lab.js";

/** Events of this guest only: others make the host emit one. */
async function listening(lab: VirshLab): Promise<Listening> {
  const other = lab.xmlFile("a", (xml) =>
    xml
      .replaceAll(lab.guest.name, "stir")
      .replace(lab.guest.uuid, lab.guest.uuid.replace(/^......../, "00000000")),
  );
  return Listening.at(lab.a, async () => {
    await lab.a.virsh("define", other);
    await lab.a.virsh("undefine", "stir");
  });
}

const figures = (text: string): Record<string, string> =>
  Object.fromEntries(
    [...text.matchAll(/^ *([\w.]+)=(.*)$/gm)].map(([, name = "", value = ""]) => [name, value]),
  );

describe.skipIf(!hasVirsh)("virsh can press a guest's buttons:", () => {
  test("shutdown ends a guest that obeys it, and it counts as shut down by itself", async () => {
    const lab = await VirshLab.begin();
    const { a, guest } = lab;
    const { name } = guest;
    const firmware = join(a.process.directory, "button");
    writeFileSync(firmware, buttonFirmware());
    const xml = lab.xmlFile("a", (text) => text.replace(/(<loader type='rom'>)[^<]*/, `$1${firmware}`));
    await a.virsh("define", xml);
    expect(await refusal(a.virsh("shutdown", name))).toContain("domain is not running");
    const heard = await listening(lab);
    for (const mode of [[], ["--mode", "acpi"]]) {
      await a.virsh("start", name);
      await until(async () => {
        await a.virsh("shutdown", name, ...mode).catch(() => {});
        return (await a.virsh("domstate", "--reason", name)) === "shut off (shutdown)";
      });
      expect(guest.pids()).toEqual([]);
    }
    const life = ["Started Booted", "Shutdown Finished after guest request", "Stopped Shutdown"];
    const expected = [...life, ...life].map((text) => `lifecycle ${text}`);
    await until(() => heard.of(name).length >= expected.length);
    expect(heard.of(name)).toEqual(expected);
  });

  test.each([
    ["powers itself off", "powerOff", ""],
    ["reboots and is to end then", "reboot", "<on_reboot>destroy</on_reboot>"],
  ] as const)("one that %s in pre-copy has shut down, and has not failed", async (_, does, more) => {
    const lab = await VirshLab.begin({ watched: true });
    const { a, b, guest } = lab;
    const { name } = guest;
    const firmware = join(a.process.directory, "button");
    writeFileSync(firmware, buttonFirmware(does));
    const withButton = (xml: string) =>
      xml.replace(/(<loader type='rom'>)[^<]*/, `$1${firmware}`).replace("<devices>", `${more}<devices>`);
    await a.virsh("define", lab.xmlFile("a", withButton));
    await a.virsh("start", name);
    const heard = await listening(lab);
    const ended = refusal(
      a.virsh("migrate", name, b.uri, "--xml", lab.xmlFile("b", withButton), "--live", "--bandwidth", "1"),
    );
    await until(async () => (await a.virsh("domjobinfo", name)).includes("Memory"));
    await guest.asked("a", (monitor) => monitor.execute("system_powerdown", {}));
    expect(await ended).toContain("the guest shut itself down");
    expect(await a.virsh("domstate", "--reason", name)).toBe("shut off (shutdown)");
    const expected = ["Shutdown Finished after guest request", "Stopped Shutdown"];
    await until(() => heard.of(name).filter((text) => text.startsWith("lifecycle")).length >= 2);
    expect(heard.of(name).filter((text) => text.startsWith("lifecycle"))).toEqual(
      expected.map((text) => `lifecycle ${text}`),
    );
    expect(await b.virsh("list", "--all", "--name")).toBe("");
  });

  test("reset boots the guest again in the same QEMU", async () => {
    const lab = await VirshLab.begin();
    const { a, guest } = lab;
    await lab.boot();
    const pids = guest.pids();
    guest.check();
    await a.virsh("reset", guest.name);
    await guest.counts("a");
    expect(() => guest.check()).toThrow();
    expect(guest.pids()).toEqual(pids);
  });

  test("invalid requests are refused, also during a migration and over a read-only connection", async () => {
    const lab = await VirshLab.begin();
    const { a, guest } = lab;
    const { name } = guest;
    await lab.boot();
    for (const mode of ["initctl", "signal", "paravirt"])
      expect(await refusal(a.virsh("shutdown", name, "--mode", mode))).toContain("unsupported flags");
    for (const button of ["shutdown", "reboot"])
      expect(await refusal(a.virsh(button, name, "--mode", "agent"))).toContain("agent is not configured");
    expect(await refusal(a.virsh("reboot", name))).toContain("reset it, or shut it down and start it");
    const setting = [["shutdown"], ["reset"], ["autostart"]];
    for (const [command = ""] of [...setting, ["reboot"]])
      expect(await refusal(a.virsh("--readonly", command, name))).toContain("read only access");
    await a.virsh("migrate-setspeed", name, "1");
    const { ended } = lab.migrating("--live");
    await until(async () => (await a.virsh("domjobinfo", name)).includes("Memory"));
    for (const [command = ""] of setting)
      expect(await refusal(a.virsh(command, name))).toContain("another job is active: migration out");
    await a.virsh("domjobabort", name);
    await ended;
    await lab.countsAt("a");
  });

  test("a killed QEMU is reported as a crash", async () => {
    const lab = await VirshLab.begin();
    const { a, guest } = lab;
    await lab.boot();
    const heard = await listening(lab);
    for (const pid of guest.pids()) process.kill(pid, "SIGKILL");
    await until(() => heard.of(guest.name).length > 0);
    expect(heard.of(guest.name)).toEqual(["lifecycle Stopped Failed"]);
    expect(await a.virsh("domstate", "--reason", guest.name)).toBe("shut off (crashed)");
  });
});

describe.skipIf(!hasVirsh)("a domain with autostart", () => {
  test("is started once per boot of its host, and not after it has left", async () => {
    const lab = await VirshLab.begin();
    const { a, guest } = lab;
    const { name } = guest;
    const marked = () => a.virsh("list", "--all", "--autostart", "--name");
    const restart = async () => {
      await a.process.kill("SIGTERM");
      await a.process.start();
    };
    const bootHost = async () => {
      await a.process.kill();
      for (const pid of guest.pids()) process.kill(pid, "SIGKILL");
      await until(() => guest.pids().length === 0);
      rmSync(join(a.process.directory, "state", "autostarted"));
      await a.process.start();
    };
    await lab.boot();
    expect(await marked()).toBe("");
    await a.virsh("autostart", name);
    expect(await marked()).toBe(name);
    expect(fieldsOf(await a.virsh("dominfo", name))).toMatchObject({ Autostart: "enable" });

    await bootHost();
    expect(await a.virsh("domstate", name)).toBe("running");
    expect(await marked()).toBe(name);
    await a.virsh("destroy", name);
    await restart();
    expect(await a.virsh("domstate", name)).toBe("shut off");

    await a.virsh("start", name);
    await lab.migrate("--live");
    expect(await marked()).toBe("");

    await a.virsh("autostart", name);
    await a.virsh("autostart", "--disable", name);
    expect(await marked()).toBe("");
    await a.virsh("autostart", name);
    await a.virsh("undefine", name);
    await a.virsh("define", lab.xmlFile("a2"));
    expect(await marked()).toBe("");
  });

  test("must be persistent", async () => {
    const lab = await VirshLab.begin();
    await lab.a.virsh("create", lab.xmlFile("a"));
    expect(await refusal(lab.a.virsh("autostart", lab.guest.name))).toContain(
      "cannot set autostart for transient domain",
    );
  });
});

describe.skipIf(!hasVirsh)("virsh reports", () => {
  test("the statistics of a domain, without values that are not known", async () => {
    const lab = await VirshLab.begin();
    const { a, guest } = lab;
    const { name, uuid } = guest;
    const balloon = lab.xmlFile("a", (xml) => xml.replace("<memballoon model='none'/>", ""));
    await a.virsh("define", balloon);
    const still = figures(await a.virsh("domstats", name));
    expect(still).toEqual({
      "state.state": "5",
      "state.reason": "0",
      "vcpu.current": "1",
      "vcpu.maximum": "1",
      "balloon.current": "65544",
      "balloon.maximum": "65544",
    });
    expect(await refusal(a.virsh("dommemstat", name))).toContain("domain is not running");
    expect(await refusal(a.virsh("vcpucount", name, "--current", "--live"))).toContain("is not running");

    await a.virsh("start", name);
    await guest.counts("a");
    await until(async () => Number(figures(await a.virsh("domstats", name))["cpu.time"]) > 0);
    const running = figures(await a.virsh("domstats", name));
    expect(running).toMatchObject({ ...still, "state.state": "1", "state.reason": "1", "vcpu.0.state": "1" });
    expect(Number(running["vcpu.0.time"])).toBeLessThanOrEqual(Number(running["cpu.time"]));
    expect(figures(await a.virsh("domstats", "--state", name))).toEqual({
      "state.state": "1",
      "state.reason": "1",
    });
    expect(await a.virsh("domstats", "--list-shutoff")).toBe("");
    expect(await refusal(a.virsh("domstats", "--block", "--enforce"))).toContain("are not supported");
    expect(await a.virsh("dommemstat", name)).toMatch(/^actual 65544\nrss [1-9]\d+$/);
    expect(await a.virsh("vcpucount", name, "--maximum", "--config")).toBe("1");
    await a.virsh("domdirtyrate-calc", name, "--seconds", "1");
    const rate = async () => figures(await a.virsh("domstats", name, "--dirtyrate"));
    await until(async () => (await rate())["dirtyrate.calc_status"] === "2");
    expect(Number((await rate())["dirtyrate.megabytes_per_second"])).toBeGreaterThan(1);
    expect(await refusal(a.virsh("domdirtyrate-calc", name, "--seconds", "61"))).toContain("from 1 to 60");
    expect(await refusal(a.virsh("domdirtyrate-calc", name, "--mode", "dirty-bitmap"))).toContain(
      "unsupported flags",
    );
    expect(fieldsOf(await a.virsh("dominfo", name))["CPU time"]).toMatch(/^\d+\.\ds$/);
    expect(await a.virsh("list", "--all", "--name", "--uuid")).toMatch(new RegExp(`^${uuid} +${name}$`));
    expect(await a.virsh("domname", uuid)).toBe(name);
    expect(await a.virsh("uri")).toBe(a.uri);
  });
});
