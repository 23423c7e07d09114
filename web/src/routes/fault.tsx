import { type ErrorComponentProps, useRouter } from "@tanstack/react-router";
import { useEffect } from "react";
import { asProblem } from "../api/problem";
import { Button } from "../components/button";
import { Page } from "../components/page";
import { ProblemNote } from "../components/problem-note";

/** How soon a page that could not be shown is tried again where the server did not answer, ms. */
const AGAIN = 2000;

/** A page that cannot be shown: why, and once more as soon as the server is back. */
export function Fault({ error }: ErrorComponentProps) {
  const router = useRouter();
  const problem = asProblem(error);
  const lost = problem.code === "unreachable";
  useEffect(() => {
    if (!lost) return;
    const timer = setInterval(() => void router.invalidate(), AGAIN);
    return () => clearInterval(timer);
  }, [lost, router]);
  return (
    <Page title={lost ? "No connection to the server" : "This page cannot be shown"} width="text">
      <ProblemNote problem={problem}>
        <Button icon="again" onClick={() => void router.invalidate()}>
          Try again
        </Button>
      </ProblemNote>
    </Page>
  );
}
