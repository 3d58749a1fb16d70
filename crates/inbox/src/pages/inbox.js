// The few things the pages do in the browser. All of them work without: times are then in UTC, lists stand still.
"use strict";

// Times as the reader's clock would show them.
function localize(root) {
  for (const time of root.querySelectorAll("time")) {
    const date = new Date(time.dateTime);
    if (Number.isNaN(date.getTime())) continue;
    const today = date.toDateString() === new Date().toDateString();
    const options = today ? { timeStyle: "medium" } : { dateStyle: "medium", timeStyle: "short" };
    time.textContent = new Intl.DateTimeFormat(undefined, options).format(date);
    time.title = time.dateTime;
  }
}

// The list fetches itself again and puts in what changed.
function keepFresh() {
  let seen = document.querySelector("[data-live]")?.innerHTML;
  if (seen === undefined) return;
  const refresh = async () => {
    if (document.hidden) return;
    try {
      const response = await fetch(location.href);
      if (!response.ok) return;
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      const fresh = page.querySelector("[data-live]");
      if (!fresh || fresh.innerHTML === seen) return;
      seen = fresh.innerHTML;
      localize(fresh);
      document.querySelector("[data-live]").replaceWith(fresh);
    } catch {
      // The inbox is away; it may come back.
    }
  };
  setInterval(refresh, 2000);
  document.addEventListener("visibilitychange", refresh);
}

// The landing page: only a token that looks like one is shown, since the command is made to be pasted into a shell.
function showToken() {
  const card = document.querySelector("[data-token]");
  if (!card) return;
  const token = /[#&]token=(inv1_[A-Za-z0-9_-]{67})(?:&|$)/.exec(location.hash)?.[1];
  card.hidden = !token;
  document.querySelector("[data-no-token]").hidden = Boolean(token);
  if (!token) return;
  const link = `${location.origin}/welcome#token=${token}`;
  const command = `target/debug/invitations accept \\\n  --link '${link}' \\\n  --user-id new-user --user-email 'ADDRESS'`;
  card.querySelector("[data-fill=token]").textContent = token;
  card.querySelector("[data-fill=command]").textContent = command;
  card.querySelector("[data-copy]").onclick = async ({ target }) => {
    try {
      await navigator.clipboard.writeText(command);
      target.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(card.querySelector("[data-fill=command]"));
      target.textContent = "Selected";
    }
    setTimeout(() => { target.textContent = "Copy"; }, 1500);
  };
}

const narrow = document.querySelector(".narrow input");
narrow?.addEventListener("change", () => document.querySelector(".frame").classList.toggle("phone", narrow.checked));

keepFresh();
localize(document);
showToken();
addEventListener("hashchange", showToken);
