// Post-copy between two daemons, led by real virsh over a slow cable: the guest runs at the destination while most of its
// memory is still at the source. Checks G1, G2 and G3, and what is left when the guest is lost.

import { describe, expect, onTestFinished, test } from "vitest";
import { Cable, noCable } from "./lab.js";
import { fieldsOf, hasVirsh, Listening, refusal, until, VirshLab } from "./virsh-lab.js";

const postcopy = ["--live", "--postcopy"] as const;
/** Slower than the guest dirties its memory. */
const rate = "40mbit";

interface Under {
  readonly lab: VirshLab;
  readonly cable: Cable;
}

/** A guest whose memory takes some seconds to get over. */
async function slowly(): Promise<Under> {
  const cable = new Cable();
  const lab = await VirshLab.begin({ workingSetMiB: 24, dirtyMiBps: 24 }, cable);
  await lab.boot();
  cable.slow(rate);
  return { lab, cable };
}

const stateAt = ({ guest }: VirshLab, host: VirshLab["a"]): Promise<string> =>
  host.virsh("domstate", "--reason", guest.name).catch(() => "");

const reaches = (lab: VirshLab, side: "a" | "b", state: string): Promise<void> =>
  until(async () => (await stateAt(lab, lab[side])) === state);

/** Begins, and has it go over; `ended` is virsh's answer, or why there was none. */
async function overThere(under: Under): Promise<{ readonly ended: Promise<string> }> {
  const { lab } = under;
  const ended = lab.migrate(...postcopy, "--persistent", "--undefinesource").catch(String);
  onTestFinished(async () => void (await ended));
  await memoryMoves(lab);
  await lab.a.virsh("migrate-postcopy", lab.guest.name);
  await reaches(lab, "b", "running (post-copy)");
  return { ended };
}

const memoryMoves = ({ a, guest }: VirshLab): Promise<void> =>
  until(async () => {
    const { "Memory processed": processed = "0" } = fieldsOf(await a.virsh("domjobinfo", guest.name));
    return Number.parseFloat(processed) > 0;
  });

const hasAll = hasVirsh && noCable === undefined;

describe.skipIf(!hasAll)("virsh migrate --postcopy", () => {
  test("has the guest run at the destination before its memory is there, and tells it as libvirt does", async () => {
    const under = await slowly();
    const { lab } = under;
    const { a, b, guest } = lab;
    const stir = (host: VirshLab["a"]) => async () => {
      await host.virsh(
        "define",
        lab.xmlFile("stir", (it) =>
          it.replaceAll(guest.name, "stir").replaceAll(guest.uuid, "7d6e8a52-0000-4000-8000-000000000001"),
        ),
      );
      await host.virsh("undefine", "stir");
    };
    const [atA, atB] = [await Listening.at(a, stir(a)), await Listening.at(b, stir(b))];
    const { ended } = await overThere(under);
    expect(await stateAt(lab, a)).toBe("paused (post-copy)");
    expect(await refusal(a.virsh("domjobabort", guest.name))).toContain(
      "cannot abort migration in post-copy mode",
    );
    expect(await refusal(a.virsh("resume", guest.name))).toContain("another job is active");
    under.cable.fast();
    expect(await ended).toBe("");
    await lab.countsAt("b");
    expect(await stateAt(lab, b)).toBe("running (migrated)");
    const lifecycle = (events: string[]) => events.filter((it) => it.startsWith("lifecycle"));
    await until(() => atA.of(guest.name).some((it) => it.includes("Undefined")));
    console.log(atA.of(guest.name), atB.of(guest.name));
    expect(lifecycle(atA.of(guest.name))).toEqual([]);
  });
});
