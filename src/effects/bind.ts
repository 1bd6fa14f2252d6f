// The only place where effects are bound to the machines. Each effect waits for the journal (write-ahead, G3), runs
// under its deadline from the step table (G5), and answers done, failed or unknown; no rejection reaches a machine.

import { fromCallback, fromPromise } from "xstate";
import { coordinatorMachine } from "../machines/coordinator/machine.js";
import { type DestinationEvent, destinationMachine } from "../machines/destination/machine.js";
import { type SourceEvent, sourceMachine } from "../machines/source/machine.js";
import { type Answer, done, failed, messageOf, nothing, unknown } from "../protocol/effect-result.js";
import type { Identity } from "../protocol/messages.js";
import { abort, type EffectName, effects, type QuestionName, questions, steps } from "../protocol/steps.js";
import type {
  Clock,
  DestinationGuest,
  DestinationPeer,
  Fence,
  SettlingPeer,
  SourceGuest,
  SourcePeer,
} from "./ports.js";
import type { Recorder } from "./recorder.js";
import type { Watch } from "./trace.js";

/** Wraps each effect and each question; its result is the answer. For tracing spans and for fault injection. */
export type EffectInterceptor = <T>(
  place: EffectName | QuestionName,
  call: () => Promise<Answer<T>>,
) => Promise<Answer<T>>;

const asItIs: EffectInterceptor = (_, call) => call();
const unwatched: Watch = (_name, _signal, call) => call();

export interface EffectContext {
  readonly identity: Identity;
  readonly recorder: Recorder;
  readonly clock: Clock;
  readonly around?: EffectInterceptor | undefined;
  /** Observes each of them, and its answer; absent without an observer. */
  readonly watch?: Watch | undefined;
  /** Absent: the machines must not be configured to use a fence. */
  readonly fence?: Fence | undefined;
}

/** A guest that is not offered at a fence has no token, so the fence is never asked. */
const noFence: Fence = {
  offer: async () => failed("no fence is configured"),
  claim: async () => failed("no fence is configured"),
  disclaim: async () => nothing,
  fence: async () => failed("no fence is configured"),
  release: async () => {},
};

export function bindSource(effectContext: EffectContext, guest: SourceGuest, destination: SettlingPeer) {
  const { fence = noFence } = effectContext;
  const effect = effectsUnder(effectContext);
  return effectContext.recorder.recording(
    sourceMachine.provide({
      actors: {
        watch: fromCallback<SourceEvent>(({ sendBack }) => guest.watch(sendBack)),
        describe: effect("describe", async (_, signal) => {
          const described = await guest.describe(signal);
          if (described.kind !== "done" || effectContext.fence === undefined) return described;
          const offered = await effectContext.fence.offer(effectContext.identity, signal);
          if (offered.kind !== "done") return offered;
          const { value } = described;
          return done({ ...value, guest: { ...value.guest, fencingToken: offered.value } });
        }),
        probeSource: effect("probeSource", (input, signal) => guest.probe(input, signal)),
        mirror: effect("mirror", (input, signal) => guest.mirror(input, signal)),
        completeMirrors: effect("completeMirrors", (_, signal) => guest.completeMirrors(signal)),
        cancelMirrors: effect("cancelMirrors", (_, signal) => guest.cancelMirrors(signal)),
        start: effect("start", (input, signal) => guest.start(input, signal)),
        setLimits: effect("setLimits", (limits, signal) => guest.setLimits(limits, signal)),
        announcePostcopy: effect("announcePostcopy", (identity, signal) =>
          destination.announcePostcopy(identity, signal),
        ),
        retractPostcopy: effect("retractPostcopy", (identity, signal) =>
          destination.settle(identity, signal),
        ),
        startPostcopy: effect("startPostcopy", (_, signal) => guest.startPostcopy(signal)),
        handOver: effect("handOver", (identity, signal) => destination.handOver(identity, signal)),
        pausePostcopy: effect("pausePostcopy", (_, signal) => guest.pausePostcopy(signal)),
        reconnect: effect("reconnect", (identity, signal) => destination.reconnect(identity, signal)),
        resumePostcopy: effect("resumePostcopy", (to, signal) => guest.resumePostcopy(to, signal)),
        relaxLimits: effect("relaxLimits", (limits, signal) => guest.setLimits(limits, signal)),
        throttle: effect("throttle", (percent, signal) => guest.throttle(percent, signal)),
        suspend: effect("suspend", (_, signal) => guest.suspend(signal)),
        continue: effect("continue", (_, signal) => guest.continue(signal)),
        cancel: effect("cancel", (input, signal) => guest.cancel(input, signal)),
        forceCancel: effect("forceCancel", (input, signal) => guest.forceCancel(input, signal)),
        restore: effect("restore", (input, signal) => guest.restore(input, signal)),
        settle: effect("settle", (identity, signal) => destination.settle(identity, signal)),
        fence: effect("fence", (what, signal) => fence.fence(what, signal)),
        concede: effect("concede", async ({ identity, fenced }, signal) => {
          const answer = await destination.concede(identity, signal);
          if (fenced !== null && answer.kind === "done") await fence.release(fenced);
          return answer;
        }),
        killSource: effect("killSource", async (fenced, signal) => {
          const answer = await guest.kill(signal);
          if (fenced !== null && answer.kind === "done") await fence.release(fenced);
          return answer;
        }),
      },
    }),
  );
}

export function bindDestination(effectContext: EffectContext, guest: DestinationGuest) {
  const { fence = noFence } = effectContext;
  const effect = effectsUnder(effectContext);
  return effectContext.recorder.recording(
    destinationMachine.provide({
      actors: {
        watch: fromCallback<DestinationEvent>(({ sendBack }) => guest.watch(sendBack)),
        prepare: effect("prepare", (input, signal) => guest.prepare(input, signal)),
        // The record of the invoking state is the decision: this effect only waits for the journal.
        recordRefusal: effect("recordRefusal", async () => nothing),
        probeDestination: effect("probeDestination", (_, signal) => guest.probe(signal)),
        listenAgain: effect("listenAgain", (_, signal) => guest.listenAgain(signal)),
        claim: effect("claim", (what, signal) => fence.claim(what, signal)),
        disclaim: effect("disclaim", (what, signal) => fence.disclaim(what, signal)),
        take: effect("take", (description, signal) => guest.resume(description, signal)),
        resume: effect("resume", (description, signal) => guest.resume(description, signal)),
        killDestination: effect("killDestination", (_, signal) => guest.kill(signal)),
      },
    }),
  );
}

export function bindCoordinator(
  { recorder, clock, around = asItIs, watch = unwatched }: EffectContext,
  source: SourcePeer,
  destination: DestinationPeer,
) {
  const ask = <T, Input = undefined>(
    name: QuestionName,
    run: (input: Input, signal: AbortSignal) => Promise<Answer<T>>,
  ) =>
    fromPromise<Answer<T>, Input>(({ input, signal }) => {
      const question = questions[name];
      const { side, deadlineMs } = question === "abort" ? abort : steps[question];
      const waitedFor = `the ${side}'s answer to ${question}`;
      return watch(name, signal, () =>
        underDeadline(clock, deadlineMs, waitedFor, signal, (inner) => around(name, () => run(input, inner))),
      );
    });
  return recorder.recording(
    coordinatorMachine.provide({
      actors: {
        askBegin: ask("askBegin", (_, signal) => source.begin(signal)),
        askPrepare: ask("askPrepare", (guest, signal) => destination.prepare(guest, signal)),
        askPerform: ask("askPerform", (prepared, signal) => source.perform(prepared, signal)),
        askAbort: ask("askAbort", (_, signal) => source.abort(signal)),
        askFinish: ask("askFinish", (_, signal) => destination.finish({ cancelled: false }, signal)),
        askFinishCancelled: ask("askFinishCancelled", (_, signal) =>
          destination.finish({ cancelled: true }, signal),
        ),
        askConfirm: ask("askConfirm", (_, signal) => source.confirm({ cancelled: false }, signal)),
        askConfirmCancelled: ask("askConfirmCancelled", (_, signal) =>
          source.confirm({ cancelled: true }, signal),
        ),
      },
    }),
  );
}

/** Wraps the effects of one side: journal first, then the effect, under its deadline. */
function effectsUnder({ recorder, clock, around = asItIs, watch = unwatched }: EffectContext) {
  return <T, Input = undefined>(
    name: EffectName,
    run: (input: Input, signal: AbortSignal) => Promise<Answer<T>>,
  ) =>
    fromPromise<Answer<T>, Input>(({ input, signal }) => {
      const { does, deadlineMs, withoutJournal } = effects[name];
      const carryOut = async (inner: AbortSignal): Promise<Answer<T>> => {
        try {
          await recorder.durable();
        } catch (error) {
          if (withoutJournal === "refused")
            return failed(`the journal cannot be written: ${messageOf(error)}`);
        }
        if (inner.aborted) return unknown("the machine no longer waits for it");
        return around(name, () => run(input, inner));
      };
      return watch(name, signal, () =>
        underDeadline(clock, deadlineMs, `the effect "${name}" (${does})`, signal, carryOut),
      );
    });
}

/** Never rejects: a deadline or a bug in a driver becomes `unknown`, since the effect may have happened. */
async function underDeadline<T>(
  clock: Clock,
  deadlineMs: number,
  waitedFor: string,
  signal: AbortSignal,
  run: (signal: AbortSignal) => Promise<Answer<T>>,
): Promise<Answer<T>> {
  const inner = new AbortController();
  const stop = () => inner.abort();
  signal.addEventListener("abort", stop);
  let timer: unknown;
  const deadline = new Promise<Answer<T>>((resolve) => {
    timer = clock.setTimeout(() => {
      resolve(unknown(`${waitedFor} did not arrive within ${deadlineMs} ms`));
      inner.abort();
    }, deadlineMs);
    inner.signal.addEventListener("abort", () => resolve(unknown(`${waitedFor} is no longer waited for`)));
  });
  try {
    return await Promise.race([run(inner.signal), deadline]);
  } catch (error) {
    return unknown(`${waitedFor} broke: ${messageOf(error)}`);
  } finally {
    clock.clearTimeout(timer);
    signal.removeEventListener("abort", stop);
  }
}
