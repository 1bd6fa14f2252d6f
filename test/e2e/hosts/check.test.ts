import { spawnSync } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { checkBetween } from "../../../src/library/preflight.js";
import { inTwoHosts } from "../../support/host-process.js";
import { hasLibvirtd, startLibvirtd, tiny } from "../../support/libvirtd.js";
import { programArguments } from "../../support/programs.js";

test("a check reports every blocker of a migration, and migrates nothing", async () => {
  await inTwoHosts({}, async (lab) => {
    const where = { from: lab.hosts.a.uri, to: lab.hosts.b.uri, domain: lab.guest.name };
    expect(await checkBetween({ ...where, xml: lab.guest.xml("b") })).toEqual({ reasons: [], silent: [] });
    const firmware = join(lab.hosts.b.directory, "nothing-there");
    const other = lab.guest
      .xml("b")
      .replace("machine='pc'", "machine='pc-i440fx-99.0'")
      .replace("<vcpu>1</vcpu>", "<vcpu>2</vcpu>")
      .replace(/<loader type='rom'>[^<]*/, `<loader type='rom'>${firmware}`);
    const { reasons } = await checkBetween({ ...where, xml: other });
    expect(reasons.map(({ code, path }) => `${code} ${path}`)).toEqual([
      "guest-abi domain/vcpu",
      "guest-abi domain/os/type/@machine",
      "machine-unknown domain/os/type/@machine",
      "firmware-missing domain/os/loader",
    ]);
    const xml = join(lab.hosts.b.directory, "other.xml");
    writeFileSync(xml, other);
    const words = ["check", "--from", where.from, "--to", where.to, "--domain", where.domain, "--xml", xml];
    const { status, stdout } = spawnSync(process.execPath, [...programArguments("switchover"), ...words]);
    expect(status).toBe(1);
    expect(`${stdout}`).toContain(`${firmware} does not exist on hostb`);
    expect(`${stdout}`).toContain("cannot be migrated: 4 blockers");
    rmSync(xml);
    await lab.runsAt("a");
  });
});

test.skipIf(!hasLibvirtd)("a check names the host that does not report its capabilities", async () => {
  await inTwoHosts({}, async (lab) => {
    const { uri } = await startLibvirtd({ hostname: "hostc" });
    const checked = await checkBetween({ from: lab.hosts.a.uri, to: uri, domain: lab.guest.name });
    expect(checked).toEqual({ reasons: [], silent: ["destination"] });
    await expect(checkBetween({ from: uri, to: lab.hosts.a.uri, domain: tiny.uuid })).rejects.toThrow(
      /Domain not found/,
    );
  });
});
