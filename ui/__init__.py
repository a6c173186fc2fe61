"""Web page: server, authorization, services, components and tabs."""
