// The simulated world in the page, without QEMU: the user selects the next move, including faults, and watches both sides
// handle it.

import { useMemo, useState } from "preact/hooks";
import { defaultPolicy } from "../../protocol/unreachable-policy.js";
import type { Move } from "../../simulator/rules.js";
import { runners } from "../../simulator/state.js";
import { ToldWorld } from "../../simulator/traced-world.js";
import type { WorldOptions } from "../../simulator/world.js";
import { Story } from "./model.js";
import { WhoRuns } from "./panels.js";
import { Scrubber } from "./scrubber.js";
import { save } from "./sources.js";
import { Watch } from "./watch.js";

const faults = 100;

interface Played {
  readonly told: ToldWorld;
  readonly story: Story;
  readonly moves: readonly string[];
}

/** Replays the moves from the beginning: they determine the state of the world. */
function play(world: WorldOptions, moves: readonly string[]): Played {
  const { told } = ToldWorld.replay({ faults, world, moves });
  const story = new Story("simulation", "simulated world");
  story.push(told.entries);
  return { told, story, moves };
}

export function Simulate({ isSmall }: { readonly isSmall: boolean }) {
  const [world, setWorld] = useState<WorldOptions>({});
  const [moves, setMoves] = useState<readonly string[]>([]);
  const { told, story } = useMemo(() => play(world, moves), [world, moves]);
  const [back, setBack] = useState<number | null>(null);
  const count = back ?? story.length;
  const take = (chosen: readonly string[]) => {
    setMoves(chosen);
    setBack(null);
  };
  const change = (changed: WorldOptions) => {
    setWorld({ ...world, ...changed });
    take([]);
  };
  const { qemuS, qemuD, network } = told.world.state;
  const stands = ({ alive, cpu }: { readonly alive: boolean; readonly cpu: string }) =>
    alive ? cpu : "dead";
  return (
    <>
      <WhoRuns moment={story.timeline.at(count)} name={story.name} />
      <section class="panel" aria-label="simulated world">
        <header>
          <h2>Simulated world</h2>
          <Choice
            label="peer-to-peer"
            value={world.peerToPeer === true}
            set={(peerToPeer) => change({ peerToPeer })}
          />
          <Choice
            label="disk mirrors"
            value={world.storage === true}
            set={(storage) => change({ storage })}
          />
          <Choice
            label="post-copy"
            value={world.postcopy === true}
            set={(postcopy) => change({ postcopy })}
          />
          <Choice
            label="fence"
            value={world.policy?.whenUnreachable === "fence"}
            set={(fence) =>
              change({ policy: fence ? { ...defaultPolicy, whenUnreachable: "fence" } : defaultPolicy })
            }
          />
        </header>
        <p data-testid="truth">
          {`The source's QEMU is ${stands(qemuS)}, the destination's ${stands(qemuD)}; ${copies(runners(told.world.state))}. `}
          {network.underWay.size > 0 && `In transit: ${[...network.underWay.keys()].join(", ")}.`}
        </p>
        {told.broken !== null && <p class="bad">{`A guarantee is violated: ${told.broken}`}</p>}
        <Moves told={told} take={(move) => take([...moves, move.name])} />
        <div class="choices">
          <button type="button" disabled={moves.length === 0} onClick={() => take(moves.slice(0, -1))}>
            undo
          </button>
          <button type="button" disabled={moves.length === 0} onClick={() => take([])}>
            restart
          </button>
          <button
            type="button"
            disabled={fairest(told) === undefined}
            onClick={() => take([...moves, ...fairly(world, moves)])}
          >
            run to the end without faults
          </button>
          <button
            type="button"
            onClick={() => save("simulated.json", textOf(told, world, moves), "application/json")}
          >
            save the moves
          </button>
        </div>
      </section>
      <Scrubber
        story={story}
        count={count}
        isFollowing={false}
        goTo={setBack}
        followOn={() => setBack(null)}
      />
      <Watch story={story} count={count} isSmall={isSmall} goTo={setBack} />
    </>
  );
}

const copies = (count: number): string =>
  count === 1 ? "one copy runs" : `${count === 0 ? "no" : count} copies run`;

const textOf = (told: ToldWorld, world: WorldOptions, moves: readonly string[]): string =>
  JSON.stringify(
    { kind: "counterexample", version: 1, broken: told.broken ?? "nothing", faults, world, moves },
    null,
    2,
  );

const Choice = ({
  label,
  value,
  set,
}: {
  readonly label: string;
  readonly value: boolean;
  set(value: boolean): void;
}) => (
  <label>
    <input type="checkbox" checked={value} onChange={(event) => set(event.currentTarget.checked)} /> {label}
  </label>
);

/** Returns the next move of a run without faults; timers fire only when no other move is possible. */
function fairest(told: ToldWorld, fired: ReadonlyMap<string, number> = new Map()): Move | undefined {
  const fair = told.moves().filter((step) => !step.fault && step.rare !== "operator");
  const turns = (step: Move) => fired.get(step.name) ?? 0;
  return fair.find((step) => step.rare === undefined) ?? fair.toSorted((a, b) => turns(a) - turns(b))[0];
}

const maxMoves = 500;

function fairly(world: WorldOptions, before: readonly string[]): readonly string[] {
  const { told } = play(world, before);
  const fired = new Map<string, number>();
  const taken: string[] = [];
  for (
    let move = fairest(told, fired);
    move !== undefined && taken.length < maxMoves;
    move = fairest(told, fired)
  ) {
    if (move.rare !== undefined) fired.set(move.name, (fired.get(move.name) ?? 0) + 1);
    told.take(move);
    taken.push(move.name);
  }
  return taken;
}

function Moves({ told, take }: { readonly told: ToldWorld; readonly take: (move: Move) => void }) {
  const all = told.moves();
  const groups = [
    ["Next", all.filter((step) => !step.fault && step.rare === undefined)],
    ["Timers and operators", all.filter((move) => move.rare !== undefined)],
    ["Faults", all.filter((move) => move.fault)],
  ] as const;
  if (all.length === 0) return <p class="remark">No more moves are possible.</p>;
  return (
    <div class="moves">
      {groups.map(([title, moves]) => (
        <section key={title} aria-label={title}>
          <h3>{`${title} (${moves.length})`}</h3>
          <ul>
            {moves.map((move) => (
              <li key={move.name}>
                <button type="button" class={move.fault ? "fault" : ""} onClick={() => take(move)}>
                  {move.name.replace(/xstate\.after\.(\w+)\.[\w.]+/, "$1")}
                </button>
              </li>
            ))}
          </ul>
        </section>
      ))}
    </div>
  );
}
