// Keeps an open page current: fetches its changing part, swaps it in, and says so when no answer comes.
"use strict";

(() => {
  const RETRY_LONGEST = 30;
  const OLD_AFTER = 20;
  const freshness = document.getElementById("freshness");
  const outage = document.getElementById("outage");
  const announcement = document.getElementById("announcement");
  const icon = document.getElementById("icon");

  let skew = 0; // how far the server's clock is ahead of this one, in milliseconds
  let answeredAt = Date.now();
  let failures = 0;
  let trouble = "";
  let timer = 0;
  let busy = false;

  const live = () => document.getElementById("live");

  // --- words: the same as those of the server ---

  function span(seconds) {
    const whole = Math.floor(Math.abs(seconds));
    if (whole < 60) return `${whole} s`;
    if (whole < 3600) return `${Math.floor(whole / 60)} min`;
    if (whole < 172800) return `${Math.floor(whole / 3600)} h`;
    return `${Math.floor(whole / 86400)} days`;
  }

  function relative(instant) {
    const seconds = (Date.now() + skew - instant) / 1000;
    if (Math.abs(seconds) < 2) return "just now";
    return seconds > 0 ? `${span(seconds)} ago` : `in ${span(seconds)}`;
  }

  function clock(milliseconds) {
    return new Date(milliseconds).toLocaleTimeString();
  }

  // --- what moves by itself ---

  function tick() {
    for (const element of document.querySelectorAll("time[data-relative]")) {
      const text = relative(Date.parse(element.dateTime));
      if (element.textContent !== text) element.textContent = text;
    }
    const age = (Date.now() - answeredAt) / 1000;
    const lost = failures > 1 || (age > OLD_AFTER + Number(live().dataset.refresh) && !document.hidden);
    document.body.classList.toggle("is-old", lost);
    freshness.className = `freshness ${lost ? "is-lost" : "is-live"}`;
    freshness.textContent = lost ? `last answer ${clock(answeredAt)}` : `updated ${clock(answeredAt)}`;
    const text = lost ? `${trouble || "No answer from hrsync"}. What you see is from ${clock(answeredAt)}; trying again.` : "";
    if (outage.textContent !== text) outage.textContent = text;
    outage.hidden = !lost;
  }

  function localTimes() {
    for (const element of document.querySelectorAll("time")) {
      const local = new Date(element.dateTime).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
      if (!element.title.includes(" · ")) element.title += ` · ${local} here`;
    }
  }

  // --- swapping ---

  function isInUse(part) {
    const selection = document.getSelection();
    const selecting = selection && !selection.isCollapsed && part.contains(selection.anchorNode);
    return selecting || (part.contains(document.activeElement) && document.activeElement.matches("select, input"));
  }

  function trail(element, root) {
    const path = [];
    for (; element !== root; element = element.parentElement) {
      path.unshift([...element.parentElement.children].indexOf(element));
    }
    return path;
  }

  function swap(fresh) {
    const part = live();
    if (isInUse(part)) return;
    const opened = [...part.querySelectorAll("details[open]")].map((element) => element.id);
    const scrolled = [...part.querySelectorAll(".log")].map((element) => [
      element.scrollTop,
      element.scrollTop + element.clientHeight > element.scrollHeight - 8,
    ]);
    const focused = part.contains(document.activeElement) ? document.activeElement : null;
    const path = focused ? trail(focused, part) : null;
    const headline = part.dataset.title;
    part.replaceWith(fresh);
    for (const id of opened) document.getElementById(id)?.setAttribute("open", "");
    [...fresh.querySelectorAll(".log")].forEach((element, index) => {
      const [top, atEnd] = scrolled[index] ?? [0, false];
      element.scrollTop = atEnd ? element.scrollHeight : top;
    });
    if (path) {
      const same = focused.id ? document.getElementById(focused.id) : focused.getAttribute("href") &&
        [...fresh.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused.getAttribute("href"));
      (same || path.reduce((element, index) => element?.children[index], fresh))?.focus?.({ preventScroll: true });
    }
    document.title = `${fresh.dataset.title} · hrsync`;
    if (fresh.dataset.title !== headline) announcement.textContent = fresh.dataset.title;
    icon.href = icon.dataset[fresh.dataset.level] || icon.dataset.idle;
  }

  function measure(part) {
    skew = Date.parse(part.dataset.now) - Date.now();
    localTimes();
  }

  // --- fetching ---

  async function look() {
    if (busy) return;
    busy = true;
    const stop = new AbortController();
    const patience = setTimeout(() => stop.abort(), 10000);
    try {
      const answer = await fetch(location.href, {
        headers: { "X-Hrsync-Fragment": "1", Accept: "text/html" },
        signal: stop.signal,
        cache: "no-store",
      });
      if (answer.status === 401) return location.reload();
      if (!answer.ok) {
        const told = await answer.json().catch(() => ({}));
        throw new Error(told.detail || `hrsync answered ${answer.status}`);
      }
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById("live");
      if (!fresh) throw new Error("Something other than hrsync answered");
      swap(document.adoptNode(fresh));
      failures = 0;
      trouble = "";
      answeredAt = Date.now();
      measure(live());
    } catch (error) {
      failures += 1;
      const silent = error.name === "AbortError" || error instanceof TypeError;
      trouble = silent ? "No answer from hrsync" : error.message.replace(/\.$/, "");
    } finally {
      clearTimeout(patience);
      busy = false;
      tick();
      plan();
    }
  }

  function plan() {
    clearTimeout(timer);
    if (document.hidden) return;
    const pause = Number(live().dataset.refresh) || 5;
    timer = setTimeout(look, 1000 * Math.min(pause * 2 ** Math.min(failures, 4), Math.max(RETRY_LONGEST, pause)));
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : look()));
  addEventListener("online", look);
  document.documentElement.classList.add("has-script");
  measure(live());
  tick();
  setInterval(tick, 1000);
  plan();
})();
