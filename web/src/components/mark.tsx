/** The name, with its sign: a prompt in a cell. */
export function Mark() {
  return (
    <span className="inline-flex items-center gap-2 text-md font-bold">
      <svg className="size-5" viewBox="0 0 16 16" fill="none" aria-hidden="true">
        <path d="M8 1 14.06 4.5v7L8 15l-6.06-3.5v-7z" className="fill-accent" />
        <path
          d="M4.75 5.75 7 8l-2.25 2.25M8.5 10.5h3"
          className="stroke-on-accent"
          strokeWidth="1.4"
          strokeLinecap="round"
          strokeLinejoin="round"
        />
      </svg>
      Polydev
    </span>
  );
}
