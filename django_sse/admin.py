"""The log in the admin; read only, because only ``django_sse.log`` enforces its rules.

It works with tables of any size: no list counts all rows, sorts without an index, or loads whole
events. Only two lists of channels read all rows of a table, by a filter and by a search for a part
of a name. There are no filters by time, because no index could help.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.views.main import SEARCH_VAR
from django.core.paginator import Paginator
from django.db.models.functions import Substr
from django.urls import reverse
from django.utils.formats import localize
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from django_sse import conf
from django_sse.internal_channels import as_typed, shown
from django_sse.log.orm import channel_hash
from django_sse.models import Channel, Run, StoredEvent

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest

    ModelAdmin = admin.ModelAdmin[Any]
else:
    # Generic for type checkers only.
    ModelAdmin = admin.ModelAdmin

# Characters of an event's data in a list.
EXCERPT = 100
# The number of rows that a list counts and can page through.
MOST = 10_000
_PARAMETER = "channel__id__exact"


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """A count of at most ``MOST``: on PostgreSQL a full count reads the whole table.

    It keeps the list's order, and so the list's index. Without an order PostgreSQL reads the table
    from its beginning, where ``sse_trim`` may have left any number of dead rows.
    """

    @cached_property
    def count(self) -> int:
        """The number of rows, but at most ``MOST``."""
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        return rows.values("pk")[:MOST].count()


class ReadOnlyAdmin(ModelAdmin):
    """A read-only view of rows in the log's database."""

    actions = None
    paginator = BoundedPaginator
    show_facets = admin.ShowFacets.NEVER
    show_full_result_count = False
    lookups: frozenset[str] = frozenset()
    """The lookups that an address may have. Django's admin takes any of any field, also a regex."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request)
        return rows.using(conf.current().DATABASE)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        return lookup in self.lookups

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def link(self, view: str, text: object, *args: Any, query: str = "") -> str:
        """Return a link to a page of this admin site, such as ``"channel_change"``."""
        path = reverse(f"admin:django_sse_{view}", args=args, current_app=self.admin_site.name)
        html: str = format_html('<a href="{}{}">{}</a>', path, query, text)
        return html


def _named(channels: QuerySet[Channel], name: str) -> QuerySet[Channel]:
    return channels.filter(name_hash__in={channel_hash(name), channel_hash(as_typed(name))})


@admin.register(Channel)
class ChannelAdmin(ReadOnlyAdmin):
    """Channels, newest first."""

    list_display = ("shown_name", "events", "head", "state", "epoch", "created")
    list_filter = ("state",)
    lookups = frozenset({"state__exact", "name_hash"})
    search_fields = ("name",)
    search_help_text = _("Searches for the name, else for a part of the names (slow).")
    ordering = ("-pk",)
    sortable_by = ()
    fields = (
        "shown_name",
        "events",
        "head",
        "floor",
        "state",
        "epoch",
        "redactions",
        "created",
    )
    readonly_fields = ("shown_name", "events")

    @admin.display(description=_("name"))
    def shown_name(self, channel: Channel) -> str:
        """Return the name, also of an internal channel."""
        return shown(channel.name)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Channel], search_term: str
    ) -> tuple[QuerySet[Channel], bool]:
        """Find the channel of this name by its hash, which has an index."""
        exact = _named(queryset, search_term)
        if search_term and exact.exists():
            return exact, False
        return super().get_search_results(request, queryset, search_term)

    @admin.display(description=_("stored events"))
    def events(self, channel: Channel) -> str:
        """Return the number of stored events, linked to their list."""
        stored = channel.head - channel.floor
        text = ngettext("%(count)s event", "%(count)s events", stored) % {"count": localize(stored)}
        query = f"?{_PARAMETER}={channel.pk}"
        return self.link("storedevent_changelist", text, query=query)


@admin.register(StoredEvent)
class StoredEventAdmin(ReadOnlyAdmin):
    """Events, newest first. Only their channel is searchable, because no index could help."""

    list_display = ("seq", "channel_link", "shown_type", "excerpt", "kind", "created")
    search_fields = ("channel__name",)
    lookups = frozenset({_PARAMETER})
    search_help_text = _("Searches for the events of the channel with this name.")
    sortable_by = ()
    fields = ("channel_link", "seq", "kind", "type", "data", "created")
    readonly_fields = ("channel_link",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[StoredEvent]:
        # Load only the first characters of the data: events may be large.
        events: QuerySet[StoredEvent] = super().get_queryset(request).defer("data")
        # Not select_related: MariaDB begins such a join with the channels, and sorts all events.
        events = events.prefetch_related("channel")
        return events.annotate(beginning=Substr("data", 1, EXCERPT + 1))

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        # Both orders read an index backwards: the unique one for a channel, else the primary key.
        # Not "-channel": the list would add the primary key to that order, and sort all.
        one_channel = _PARAMETER in request.GET or request.GET.get(SEARCH_VAR)
        return ("-channel_id", "-seq") if one_channel else ("-pk",)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[StoredEvent], search_term: str
    ) -> tuple[QuerySet[StoredEvent], bool]:
        """Find the events of the channel that has this name."""
        if not search_term:
            return queryset, False
        # Its key first: a join could be planned as a walk through all events.
        channels = _named(Channel.objects.using(queryset.db), search_term)
        key = channels.values_list("pk", flat=True).first()
        return (queryset.none() if key is None else queryset.filter(channel=key)), False

    @admin.display(description=_("channel"))
    def channel_link(self, event: StoredEvent) -> str:
        """Return the channel's name, linked to the channel."""
        return self.link("channel_change", event.channel, event.channel_id)

    @admin.display(description=_("event type"))
    def shown_type(self, event: StoredEvent) -> str:
        """Return the event type that a client sees."""
        return event.type or "message"

    @admin.display(description=_("data"))
    def excerpt(self, event: StoredEvent) -> str:
        """Return the beginning of the data."""
        beginning: str = event.beginning  # type: ignore[attr-defined]
        return beginning if len(beginning) <= EXCERPT else f"{beginning[:EXCERPT]}…"


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    """Runs, ordered by their random ids, because the time of their start has no index."""

    list_display = ("id", "channel_link", "owner", "dialect", "created", "ended")
    list_filter = (("ended", admin.EmptyFieldListFilter),)
    lookups = frozenset({"ended__isempty"})
    search_fields = ("owner", "id")
    search_help_text = _("Searches for a run by its id, and for the runs of an owner.")
    sortable_by = ()
    fields = ("id", "channel_link", "owner", "dialect", "while_connected", "created", "ended")
    readonly_fields = ("channel_link",)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Run], search_term: str
    ) -> tuple[QuerySet[Run], bool]:
        """Find one run by its id, or all runs of an owner."""
        if not search_term:
            return queryset, False
        try:
            return queryset.filter(pk=UUID(search_term)), False
        except ValueError:
            return queryset.filter(owner=search_term), False

    @admin.display(description=_("channel"))
    def channel_link(self, run: Run) -> str:
        """Return a link to the run's channel."""
        query = f"?name_hash={channel_hash(run.channel)}"
        return self.link("channel_changelist", shown(run.channel), query=query)
