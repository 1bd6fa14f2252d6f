// What happens in the simulated world beside the machines' own effects and questions: what the two QEMUs do by
// themselves, what is heard of them, timers, and a person.

import type { Choice, World } from "./world.js";

export function happenings(here: World): Choice[] {
  return [...qemuChoices(here), ...factChoices(here), ...timerChoices(here), ...personChoices(here)];
}

function qemuChoices(here: World): Choice[] {
  return [...(here.qemuS.alive ? sourceQemu(here) : []), ...(here.qemuD.alive ? destinationQemu(here) : [])];
}

function sourceQemu(here: World): Choice[] {
  const { qemuS, qemuD } = here;
  const choices: Choice[] = [];
  const may = (name: string, fault: boolean, run: (world: World) => void) =>
    choices.push({ name: `the source's QEMU ${name}`, fault, run });
  const connected = qemuD.alive && qemuD.stream === "active";
  if (qemuS.migration === "active" && connected) {
    may("pauses the guest and waits before the switchover", false, (world) => {
      world.qemuS.pause("preSwitchover");
      world.qemuS.waitBeforeSwitchover();
    });
    may("pauses the guest for long and waits before the switchover", false, (world) => {
      world.qemuS.pause("preSwitchover");
      world.qemuS.tellStop();
      world.qemuS.waitBeforeSwitchover();
    });
    may("pauses the guest and switches over at once", false, (world) => world.qemuS.pause("device"));
  }
  if (qemuS.stopUntold) may("has paused its guest for long", false, (world) => world.qemuS.tellStop());
  if (qemuS.migration === "device" && connected) {
    may("has sent all: the destination's QEMU has the guest whole", false, (world) => {
      world.qemuD.stream = "whole";
      world.qemuD.facts.push({ type: "monitor.completed" });
    });
  }
  if (qemuS.migration === "device" && qemuD.stream === "whole") {
    may("completes", false, (world) => world.qemuS.complete());
    may("does not hear that the stream arrived, and fails", true, (world) => world.qemuS.giveUp("failed"));
  }
  if (qemuS.ended === undefined && !qemuD.alive)
    may("sees the stream break", false, (world) => world.qemuS.giveUp("failed"));
  if (qemuS.ended === undefined && qemuS.cpu === "stopped") {
    may("fails and leaves its guest stopped", true, (world) =>
      world.qemuS.giveUp("failed", { resumes: false }),
    );
  }
  if (qemuS.migration === "cancelling") {
    may("has cancelled", false, (world) => world.qemuS.giveUp("cancelled"));
    if (qemuD.stream === "whole")
      may("completes in spite of the cancel", false, (world) => world.qemuS.complete());
  }
  may("dies", true, (world) => {
    world.qemuDied = true;
    world.qemuS.die();
  });
  return choices;
}

function destinationQemu(here: World): Choice[] {
  const { qemuS, qemuD } = here;
  const streamLost =
    qemuD.stream === "active" && (!qemuS.alive || (qemuS.ended !== undefined && qemuS.ended !== "completed"));
  return [
    ...(streamLost
      ? [
          {
            name: "the destination's QEMU sees the stream break and ends",
            fault: false,
            run: (world: World) => world.qemuD.die(),
          },
        ]
      : []),
    {
      name: "the destination's QEMU dies",
      fault: true,
      run: (world) => {
        world.qemuDied = true;
        world.qemuD.die();
      },
    },
  ];
}

function factChoices(here: World): Choice[] {
  const choices: Choice[] = [];
  const [factS] = here.qemuS.facts;
  const [factD] = here.qemuD.facts;
  if (factS !== undefined) {
    choices.push({
      name: `the source hears ${factS.type}`,
      fault: false,
      run: (world) => {
        world.qemuS.facts.shift();
        world.send(world.source, factS);
      },
    });
  }
  if (factD !== undefined && here.destination !== null) {
    choices.push({
      name: `the destination hears ${factD.type}`,
      fault: false,
      run: (world) => {
        world.qemuD.facts.shift();
        world.send(world.node("destination"), factD);
      },
    });
  }
  return choices;
}

function timerChoices(here: World): Choice[] {
  return [here.source, here.destination, here.coordinatorDied ? null : here.coordinator].flatMap((node) =>
    node === null
      ? []
      : [...node.timers].map((timer) => ({
          name: `${node.name}: the timer ${timer} fires`,
          fault: false,
          rare: "timer" as const,
          run: (world: World) => world.fire(world.node(node.name), timer),
        })),
  );
}

function personChoices(here: World): Choice[] {
  if (here.aborts === 0 || here.coordinatorDied) return [];
  const run = (world: World) => {
    world.aborts -= 1;
    world.send(world.coordinator, { type: "person.aborted" });
  };
  return [{ name: "a person aborts", fault: false, rare: "person", run }];
}
