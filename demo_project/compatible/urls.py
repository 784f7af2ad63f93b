"""The paths are the vendors' own, behind a base URL each."""

from __future__ import annotations

from django.urls import path

from . import views

app_name = "compatible"

urlpatterns = [
    path("openai/v1/chat/completions", views.chat_completions, name="chat-completions"),
    path("openai/v1/responses", views.responses, name="responses"),
    path("openai/v1/responses/<str:name>", views.response_stream, name="response-stream"),
    path("anthropic/v1/messages", views.messages, name="messages"),
    path("ai-sdk/chat", views.chat, name="chat"),
    path("ai-sdk/chat/<str:name>/stream", views.chat_stream, name="chat-stream"),
    path("ag-ui/", views.agent, name="agent"),
]
