# The Space, and everywhere else: `make image`, or see GUIDE_HF.md.
FROM docker.io/library/python:3.11-slim

# Where torch comes from; a variable of the Space of this name is used, too. PyPI's build runs on NVIDIA GPUs and on processors.
# Without a GPU https://download.pytorch.org/whl/cpu makes the image some gigabytes smaller; an older driver may need .../whl/cu126.
ARG TORCH_INDEX=https://pypi.org/simple

# A Space runs as user 1000. /data is where a storage bucket or a folder is mounted, if runs are to outlive the container.
RUN useradd --create-home --uid 1000 user && install --directory --owner=user /data /app
WORKDIR /app

# The largest layer first: it changes least often.
COPY requirements.txt constraints.txt ./
RUN pip install --no-cache-dir --root-user-action=ignore --index-url "$TORCH_INDEX" \
        "$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' requirements.txt)"
RUN pip install --no-cache-dir --root-user-action=ignore --requirement requirements.txt --constraint constraints.txt

# SYSTEM: without it a sign-in on a Space proves nothing, so training stays closed there.
ENV SYSTEM=spaces \
    HOME=/home/user \
    CTM_HOME=/data \
    CTM_RESUME=1 \
    GRADIO_SERVER_NAME=0.0.0.0 \
    GRADIO_SERVER_PORT=7860 \
    PYTHONUNBUFFERED=1

USER 1000
COPY --chown=user . .
RUN python -m compileall -q .

EXPOSE 7860
HEALTHCHECK --start-period=60s --timeout=5s \
    CMD ["python", "-c", "import urllib.request as ask; ask.urlopen('http://127.0.0.1:7860/readyz', timeout=4)"]

# The app itself is process 1: SIGTERM reaches it, and what trains here saves before it ends (up to 20 seconds).
CMD ["python", "app.py"]
