// Breakages of the rules by which a source concludes what a libvirtd did with its guest. The search must find each of them.

import { conclude, mayFinish } from "../../src/protocol/evidence.js";
import type { HostRules } from "../../src/simulator/hosts/surroundings.js";

interface EvidenceBreakage {
  readonly mode: "peer-to-peer" | "managed";
  readonly rules: Partial<HostRules>;
}

const alone = (rules: Partial<HostRules>): EvidenceBreakage => ({ mode: "peer-to-peer", rules });

export const evidenceBreakages: Readonly<Record<string, EvidenceBreakage>> = {
  "Finish is asked after a refusal was concluded": alone({ mayFinish: () => true }),
  "a coordinator that was restarted asks for Finish while the source resumes": alone({
    mayFinish: ({ concluded }) => mayFinish({ concluded, isBack: false }),
  }),
  "a guest that is gone after a lost answer counts as refused": alone({
    conclude: (evidence) =>
      evidence.finish === "unanswered" && evidence.seen.at === "absent" ? "refused" : conclude(evidence),
  }),
  "a Finish that was asked counts as never sent": alone({
    conclude: (evidence) =>
      conclude(evidence.finish === "unanswered" ? { ...evidence, finish: "unsent" } : evidence),
  }),
  "the incoming domain counts as arrived while it waits": alone({
    conclude: (evidence) => {
      const { seen } = evidence;
      return conclude(seen.at === "active" ? { ...evidence, seen: { ...seen, is: "idle" } } : evidence);
    },
  }),
  "Confirm from the client that leads is rejected": {
    mode: "managed",
    rules: { confirmCounts: () => false },
  },
};
